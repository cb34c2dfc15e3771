"""The RHEV-M tables, by hand and by invariants; every case also runs through bin/ (contract)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmguest.states import GONE, Condition, State
from kvmguest.states_rhev import (
    ELSEWHERE,
    HERE,
    NOWHERE,
    PLACES,
    RHEV_TABLE,
    UNSURE,
    RhevSeen,
    depends_on_host,
    judge_rhev,
    kind,
)

STATUSES = sorted({status for status, _place in RHEV_TABLE} | {"", "unassigned", "new word"})
DETAILS = ("", "none", "noerr", "eio", "eother", "enospc", "eperm", "postcopy")


def judge(status: str, place: str, detail: str = "") -> State:
    return judge_rhev(RhevSeen("g1", status, detail, place, "h9", "why")).state


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", STATUSES)
def test_offline_has_a_witness(status: str, place: str) -> None:
    """Only "down", and a lost VM that RHEV-M gives to another host, are OFFLINE."""
    is_offline = judge(status, place) is State.OFFLINE
    assert is_offline == (
        status == "down" or (status in {"unknown", "not_responding"} and place == ELSEWHERE)
    )


@given(status=st.text(), place=st.sampled_from(PLACES), detail=st.text())
def test_any_other_word_is_unknown(status: str, place: str, detail: str) -> None:
    if (kind(status, detail), place) not in RHEV_TABLE:
        assert judge(status, place, detail) is State.UNKNOWN


@pytest.mark.parametrize("status", STATUSES)
def test_online_only_here(status: str) -> None:
    for place in (ELSEWHERE, NOWHERE, UNSURE):
        assert judge(status, place) is not State.ONLINE


@pytest.mark.parametrize("status", STATUSES)
def test_a_guest_that_is_gone_never_counts_as_running_here(status: str) -> None:
    verdict = judge_rhev(RhevSeen("g1", status, "", HERE, "h1"))
    if verdict.condition in GONE:
        assert status in {"down", "suspended"}


@pytest.mark.parametrize("detail", DETAILS)
def test_pauses(detail: str) -> None:
    verdict = judge_rhev(RhevSeen("g1", "paused", detail, HERE, "h1"))
    assert (verdict.state, verdict.confidence) == (State.ONLINE, 20)
    expected = {"": Condition.PAUSED, "none": Condition.PAUSED, "noerr": Condition.PAUSED}
    expected["postcopy"] = Condition.BUSY
    assert verdict.condition is expected.get(detail, Condition.STUCK)


def test_the_host_is_asked_for_only_where_it_matters() -> None:
    for status in ("down", "suspended", "image_locked", "", "unassigned"):
        assert not depends_on_host(status, "")
    for status in ("up", "paused", "unknown", "migrating"):
        assert depends_on_host(status, "")


def test_sentences() -> None:
    seen = RhevSeen("g1", "up", "", ELSEWHERE, "h2")
    assert judge_rhev(seen).sentence == "g1: RHEV-M: up on h2: INTENTIONAL OFFLINE"
    seen = RhevSeen("g1", "down", "", NOWHERE)
    assert judge_rhev(seen).sentence == "g1: RHEV-M: down: OFFLINE"
    seen = RhevSeen("g1", "up", "", UNSURE, "h2", "it is not known why")
    assert "up on h2, but it is not known why: UNKNOWN; see that this node" in (
        judge_rhev(seen).sentence
    )
