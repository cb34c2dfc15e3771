"""What a scenario comes to, from what the observer saw: no cluster needed."""

from __future__ import annotations

import pytest

from tests.cluster import report
from tests.cluster.faults import FAULTS
from tests.cluster.observer import Record
from tests.cluster.play import Outcome, judge
from tests.cluster.scenarios import LONG, RESTART, SHORT, Scenario, Step, random_rounds

KILLED = Scenario("guest killed", [Step("kill guest")], frozenset({RESTART}))
CALM = Record((), ("a",), 0, ())


def outcome(record: Record, complaint: str = "", fenced: int = 0) -> Outcome:
    return judge("KVMGuest", KILLED, record, 100.0, fenced, complaint)


@pytest.mark.parametrize(
    ("record", "is_safe"),
    [
        (CALM, True),
        (CALM._replace(boots=("a", "b", "c")), True),
        (CALM._replace(boots=("a", "b", "a")), False),
        (CALM._replace(foreign=1), False),
    ],
)
def test_two_writers_show_in_the_data(record: Record, is_safe: bool) -> None:
    assert outcome(record).is_safe is is_safe
    assert outcome(record).is_right is is_safe


def test_the_time_away_ends_with_the_last_gap() -> None:
    gaps = ((90.0, 95.0), (100.5, 103.0), (104.0, 112.5))
    assert outcome(CALM._replace(gaps=gaps)).back_s == 12.5
    assert outcome(CALM).back_s == 0
    assert outcome(CALM._replace(gaps=((101.0, None),)), "it does not beat").back_s is None


def test_what_was_not_needed_is_not_right() -> None:
    assert outcome(CALM._replace(boots=("a", "b"))).verdict == "right"
    assert outcome(CALM, fenced=1).verdict == "needless fencing"
    assert outcome(CALM, "QEMU processes: {}").verdict == "not well after 120 s: QEMU processes: {}"


def test_the_table_has_a_row_for_each_scenario() -> None:
    rows = report.table([outcome(CALM), outcome(CALM)._replace(agent="other", is_safe=False)])
    assert "| guest killed | right | never away | right | " in rows
    assert "KVMGuest: right in 1 of 1, two writers in 0." in rows
    assert "other: right in 1 of 1, two writers in 1." in rows
    assert "| right | two at once |" in rows


def test_every_step_is_known_and_a_seed_gives_the_same_rounds() -> None:
    rounds = random_rounds(7, 20)
    assert rounds == random_rounds(7, 20) != random_rounds(8, 20)
    for scenario in (*SHORT, *LONG, *rounds):
        assert {step.fault for step in (*scenario.before, *scenario.steps)} <= FAULTS.keys()
