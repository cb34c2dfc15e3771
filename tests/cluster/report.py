"""What was seen, as text: a timeline for each scenario, and a Markdown table of all."""

from __future__ import annotations

from collections.abc import Sequence

from tests.cluster.play import Outcome


def timeline(outcome: Outcome) -> str:
    """One scenario under one agent, second by second."""
    lines = (f"{at:9.1f}  {' '.join(text.split())}" for at, text in outcome.timeline)
    return "\n".join([headline(outcome), *lines])


def headline(outcome: Outcome) -> str:
    """One scenario under one agent, as a sentence."""
    return f"{outcome.scenario}, {outcome.agent}: {outcome.verdict} ({figures(outcome)})"


def figures(outcome: Outcome) -> str:
    """How long the guest was away, and what it cost."""
    if not outcome.is_safe:
        return "two at once"
    if outcome.back_s is None:
        words = ["not running"]
    else:
        words = [f"{outcome.back_s:.1f} s" if outcome.back_s else "never away"]
    if outcome.restarts:
        words.append(f"restarted {outcome.restarts}x")
    if outcome.fenced:
        words.append(f"node shot {outcome.fenced}x")
    return ", ".join(words)


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each scenario, two columns for each agent."""
    agents = list(dict.fromkeys(outcome.agent for outcome in outcomes))
    found = {(outcome.scenario, outcome.agent): outcome for outcome in outcomes}
    head = ["scenario", *(f"{agent}{what}" for agent in agents for what in ("", ": away"))]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for scenario in dict.fromkeys(outcome.scenario for outcome in outcomes):
        cells = [scenario]
        for agent in agents:
            outcome = found.get((scenario, agent))
            cells += [outcome.verdict, figures(outcome)] if outcome else ["not run", ""]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", *(_summary(agent, outcomes) for agent in agents)])


def _summary(agent: str, outcomes: Sequence[Outcome]) -> str:
    own = [outcome for outcome in outcomes if outcome.agent == agent]
    right = sum(outcome.is_right for outcome in own)
    unsafe = sum(not outcome.is_safe for outcome in own)
    return f"- {agent}: right in {right} of {len(own)}, two writers in {unsafe}."
