"""Plays a scenario on the pair and judges what happened by what the observer saw."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Callable, NamedTuple

from tests.cluster.engine import Agent
from tests.cluster.faults import FAULTS
from tests.cluster.observer import Event, Record
from tests.cluster.pair import Pair
from tests.cluster.scenarios import FENCE, RESTART, Scenario, Step
from tests.lab.namespaces import LabError

NOT_POSSIBLE = ": not possible:"
_ENGINE_LINE = re.compile(
    r"^(\w{3} \d\d) (\d\d:\d\d:\d\d\.\d+) (\w+) \S+ +\[\d+\] \(\w+\)\s+\w+:\s+"
    r"(Result of .*?|Peer \w+ was .*?)(?: \||$)",
    re.MULTILINE,
)


class Outcome(NamedTuple):
    """What came of one scenario.

    Attributes:
        scenario: its name.
        agent: label of the agent.
        verdict: "right", or what was not.
        is_right: one writer at every moment, and in the end one guest, which the engine knows of;
            nobody restarted or shot it needlessly.
        is_safe: one writer at every moment.
        back_s: seconds from the fault until it ran again for good; 0.0 if it never stood still for
            longer than observer.GAP_S; None if it does not run.
        restarts: how often it booted anew.
        fenced: how often a node was shot by the engine.
        timeline: seconds since the fault, and what happened.
    """

    scenario: str
    agent: str
    verdict: str
    is_right: bool
    is_safe: bool
    back_s: float | None
    restarts: int
    fenced: int
    timeline: Sequence[tuple[float, str]]


def play(
    pair: Pair, agent: Agent, scenario: Scenario, say: Callable[[str], object] = bool
) -> Outcome:
    """Bring the pair in order, let it happen, wait until all is well or time is up."""
    _prepare(pair, agent, scenario, say)
    node = pair.guest_node()
    logs = {name: _log_size(pair, name) for name in pair.nodes}
    events: list[Event] = []
    pair.observer.begin()
    _do(pair, node, scenario.before, events)
    start = time.monotonic()
    fenced_before = len(pair.switch.fencings)
    _do(pair, node, scenario.steps, events)
    complaint = pair.settle(scenario.limit_s)
    record = pair.observer.record()
    shots = pair.switch.fencings[fenced_before:]
    events += [Event(shot.at, f"power switch: {shot.action} {shot.node}") for shot in shots]
    events += [*record.events, *_engine_events(pair, logs)]
    missed = [event.text for event in events if NOT_POSSIBLE in event.text]
    if missed and scenario.is_strict:
        complaint = f"{complaint}; not played: {' '.join(missed[0].split())}".lstrip("; ")
    outcome = judge(agent.label, scenario, record, start, len(shots), complaint)
    if not outcome.is_right:
        pair.formed = None  # nothing of it shall reach into the next scenario
    events.sort(key=lambda event: event.at)
    return outcome._replace(timeline=[(round(e.at - start, 1), e.text) for e in events])


def judge(
    agent: str, scenario: Scenario, record: Record, start: float, fenced: int, complaint: str
) -> Outcome:
    """What a scenario that began at ``start`` came to; ``complaint`` is about its end."""
    restarts = len(record.boots) - 1
    costs = ((RESTART, restarts), (FENCE, fenced))
    needless = [word for word, count in costs if count and word not in scenario.may]
    verdict = "right"
    if record.has_two_writers:
        verdict = "TWO WRITERS" + (f"; {complaint}" if complaint else "")
    elif complaint:
        verdict = f"not well after {scenario.limit_s:.0f} s: {complaint}"
    elif needless:
        verdict = f"needless {' and '.join(needless)}"
    ends = [end for _, end in record.gaps if end is None or end > start]
    back_s = max((end - start for end in ends if end), default=0.0)
    return Outcome(
        scenario=scenario.name,
        agent=agent,
        verdict=verdict,
        is_right=verdict == "right",
        is_safe=not record.has_two_writers,
        back_s=None if None in ends else back_s,
        restarts=restarts,
        fenced=fenced,
        timeline=(),
    )


def _prepare(pair: Pair, agent: Agent, scenario: Scenario, say: Callable[[str], object]) -> None:
    """The same cluster goes on if it can be brought in order, else it is formed anew."""
    wanted = (agent.label, scenario.guest)
    if pair.formed == wanted:
        try:
            pair.mend()
            complaint = pair.settle(30, calm_s=2)
        except (LabError, OSError, subprocess.TimeoutExpired) as error:
            complaint = str(error)
        if not complaint:
            return
        say(f"  the cluster is formed anew: {complaint}")
    is_loaded = scenario.guest == "loaded"
    pair.form(agent, is_deaf=scenario.guest == "deaf", load_mib=24 if is_loaded else 0)
    pair.formed = wanted


def _do(pair: Pair, node: str, steps: Sequence[Step], events: list[Event]) -> None:
    """Let the steps happen. One that is not possible any more is recorded, and no failure."""
    for step in steps:
        time.sleep(step.after_s)
        at = time.monotonic()
        words = f"FAULT {step.fault}"
        try:
            FAULTS[step.fault](pair, node)
        except (LabError, OSError, subprocess.TimeoutExpired) as error:
            words += f"{NOT_POSSIBLE} {error}"
        events.append(Event(at, words))


def _log_size(pair: Pair, node: str) -> int:
    path = pair.engine_log(node)
    return path.stat().st_size if path.exists() else 0


def _engine_events(pair: Pair, sizes: dict[str, int]) -> list[Event]:
    """What each node's engine did itself, from its log."""
    found = []
    offset = time.monotonic() - time.time()
    year = datetime.now().astimezone().year
    for node, size in sizes.items():
        path = pair.engine_log(node)
        text = path.read_bytes()[size:].decode("ascii", "replace") if path.exists() else ""
        for day, clock, writer, words in _ENGINE_LINE.findall(text):
            if words.startswith("Peer") or f"on {writer}" in words:
                local = datetime.strptime(
                    f"{year} {day} {clock}", "%Y %b %d %H:%M:%S.%f"
                ).astimezone()
                at = local.timestamp() + offset
                found.append(Event(at, f"engine on {writer}: {words}"))
    return found
