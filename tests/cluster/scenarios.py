"""Scenarios as data: what happens when, and which consequences are no fault of the agent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

RESTART, FENCE = "restart", "fencing"


class Step(NamedTuple):
    """``fault``, a name of faults.FAULTS, so many seconds after the step before it."""

    fault: str
    after_s: float = 0


class Scenario(NamedTuple):
    """One scenario.

    Attributes:
        name: of its row.
        steps: what happens. The first one is the fault from which time is counted.
        may: RESTART where the guest has to boot anew, FENCE where a node has to be shot; where one
            is missing it is needless.
        before: what is prepared, outside of the time.
        guest: "" for the usual guest, "deaf", or "loaded".
        is_strict: every step must be possible.
        limit_s: all must be well so many seconds after the last step.
    """

    name: str
    steps: Sequence[Step]
    may: frozenset[str] = frozenset()
    before: Sequence[Step] = ()
    guest: str = ""
    limit_s: float = 120
    is_strict: bool = True


_REBOOT = frozenset({RESTART})
_ANY = frozenset({RESTART, FENCE})
_MIDWAY = (Step("make migrations slow"), Step("move"), Step("await both"), Step("nothing", 1))


def _midway(name: str, *steps: Step, may: frozenset[str] = _ANY) -> Scenario:
    return Scenario(f"{name} midway in a migration", steps, may, before=_MIDWAY)


SHORT = (
    Scenario("guest killed", [Step("kill guest")], _REBOOT),
    Scenario(
        "libvirtd killed, back 10 s later", [Step("kill libvirtd"), Step("start libvirtd", 10)]
    ),
    Scenario("live migration by the engine", [Step("move"), Step("await moved")]),
    Scenario("node killed", [Step("pull plug")], _ANY),
)
"""What tests/cluster/test_cluster.py plays."""

LONG = (
    Scenario(
        "engine stops it, then starts it",
        [Step("stop"), Step("await gone"), Step("start")],
        _REBOOT,
    ),
    Scenario("QEMU frozen for 12 s", [Step("freeze guest"), Step("thaw guest", 12)]),
    Scenario("QEMU frozen, engine moves it", [Step("freeze guest"), Step("move")], _REBOOT),
    Scenario("libvirtd frozen for 10 s", [Step("freeze libvirtd"), Step("thaw libvirtd", 10)]),
    Scenario(
        "libvirtd frozen for good",
        [Step("freeze libvirtd"), Step("nothing", 25)],  # longer than a monitor may take
        _ANY,
    ),
    Scenario("guest and libvirtd killed", [Step("kill libvirtd"), Step("kill guest")], _ANY),
    Scenario("administrator suspends it", [Step("suspend")], _REBOOT),
    Scenario("administrator saves it", [Step("save")], _REBOOT),
    Scenario(
        "saved, its node killed, moved back later",
        [Step("save"), Step("pull plug"), Step("await order"), Step("move back")],
        _ANY,
    ),
    Scenario("administrator migrates it", [Step("migrate by hand")], _REBOOT),
    Scenario(
        "administrator migrates it, libvirtd restarts",
        [Step("migrate by hand"), Step("kill libvirtd"), Step("start libvirtd")],
        _REBOOT,
    ),
    _midway("source node killed", Step("pull plug")),
    _midway("target node killed", Step("pull target's plug")),
    _midway("source's libvirtd killed", Step("kill libvirtd"), Step("start libvirtd", 10)),
    _midway(
        "target's libvirtd killed",
        Step("kill target's libvirtd"),
        Step("start target's libvirtd", 10),
    ),
    Scenario(
        "network cut between the nodes",
        [Step("cut network"), Step("mend network", 20)],
        frozenset({FENCE}),
    ),
    Scenario(
        "corosync frozen on its node",
        [Step("freeze corosync"), Step("nothing", 15)],  # longer than the others wait for it
        _ANY,
    ),
    Scenario("stop and migrate both fail", [Step("freeze libvirtd"), Step("move")], _ANY),
    Scenario(
        "guest killed, storage read-only there",
        [Step("storage read-only"), Step("kill guest")],
        _REBOOT,
    ),
    Scenario(
        "deaf guest is stopped, then started",
        [Step("stop"), Step("await gone"), Step("start")],
        _REBOOT,
        guest="deaf",
    ),
    Scenario(
        "live migration during load",
        [Step("move"), Step("await moved")],
        guest="loaded",
    ),
)

_SINGLE = (
    (Step("kill guest"),),
    (Step("freeze guest"), Step("thaw guest", 6)),
    (Step("kill libvirtd"), Step("start libvirtd", 6)),
    (Step("freeze libvirtd"), Step("thaw libvirtd", 6)),
    (Step("suspend"),),
    (Step("save"),),
    (Step("move"),),
    (Step("pull plug"),),
    (Step("pull target's plug"),),
    (Step("freeze corosync"), Step("nothing", 15)),
)


def random_rounds(seed: int, rounds: int) -> list[Scenario]:
    """Rounds of two faults each, the second a moment after the first and often during it."""
    dice = random.Random(seed)  # noqa: S311 - to be repeatable is the point
    found = []
    for number in range(1, rounds + 1):
        first, second = dice.choice(_SINGLE), dice.choice(_SINGLE)
        pause = round(dice.uniform(0.2, 6), 1)
        steps = (first[0], Step(second[0].fault, pause), *first[1:], *second[1:])
        name = f"random {number}: {first[0].fault}, {second[0].fault} {pause} s later"
        found.append(Scenario(name, steps, _ANY, is_strict=False))
    return found
