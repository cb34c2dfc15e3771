"""What online, monitor, migrate and every path do, over a guest that behaves (see also _down)."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmguest import errors, lifecycle
from kvmguest.lifecycle import Run
from kvmguest.states import State
from tests.doubles.fake_backend import NEVER
from tests.doubles.fake_run import answers_after, case

# online


@pytest.mark.parametrize(
    ("state", "done"),
    [
        ("shut off (shutdown)", "started"),
        ("shut off (crashed)", "started"),
        ("shut off (saved)", "started"),
        ("shut off (migrated)", "started"),
        ("not defined", "started"),
        ("paused (user)", "resumed"),
        ("paused (from snapshot)", "resumed"),
        ("pmsuspended (unknown)", "woken"),
    ],
)
def test_online_brings_it_up(state: str, done: str) -> None:
    here = case(state, online_s=7)
    assert lifecycle.online(here.run) == 7
    assert here.guest.done == [done]
    assert here.log.last.startswith("I")


def test_online_of_a_running_guest_does_nothing_and_waits_for_nothing() -> None:
    here = case("running (booted)")
    assert lifecycle.online(here.run) == 0
    assert here.guest.done == []
    assert here.clock.now < 1


@pytest.mark.parametrize(
    "state",
    [
        "paused (I/O error)",
        "paused (migrating)",
        "paused (saving)",
        "paused (starting up)",
        "crashed (panicked)",
        "state 9 (reason 1)",
        "no connection (its QEMU process is alive)",
        "no connection (no process of it)",
        "error",
    ],
)
def test_online_leaves_what_it_does_not_understand_alone(state: str) -> None:
    here = case(state)
    assert lifecycle.online(here.run) == 0
    assert here.guest.done == []
    assert here.log.last.startswith("E web: libvirt: ")


def test_online_does_not_start_beside_a_process_that_libvirt_does_not_know() -> None:
    here = case("shut off (shutdown)", leftover=True)
    assert lifecycle.online(here.run) == 0
    assert here.guest.done == []
    assert here.log.last.startswith("E")


def test_online_waits_for_a_guest_on_its_way_down() -> None:
    here = case("in shutdown (user)")
    looks = iter(["in shutdown", "in shutdown", "shut off"])

    def look(original: Callable[[], object] = here.guest.look) -> object:
        state = next(looks, None)
        if state:
            here.guest.state = (state, "user" if state == "in shutdown" else "shutdown")
        return original()

    here.guest.look = look  # type: ignore[assignment,method-assign]
    assert lifecycle.online(here.run) == 5
    assert here.guest.done == ["started"]


def test_online_waits_for_a_libvirt_that_comes_up_with_the_node() -> None:
    here = case("no connection (no process of it)")
    answers_after(here, 3, ("shut off", "unknown"))
    assert lifecycle.online(here.run) == 5
    assert here.guest.done == ["started"]


def test_online_of_a_guest_that_stays_on_its_way_down() -> None:
    here = case("in shutdown (user)", limit_s=60)
    assert lifecycle.online(here.run) == 0
    assert here.guest.done == []
    assert here.clock.now < 60
    assert "not started, the time is over; web: libvirt: in shutdown" in here.log.last


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.RunsElsewhere("lock held"), "it runs elsewhere or another host holds its disk"),
        (errors.OperationFailed("no such file"), "start failed: no such file"),
        (errors.Silent("no answer"), "start failed: no answer"),
    ],
)
def test_a_start_that_fails_is_logged_with_its_reason(
    error: errors.BackendError, words: str
) -> None:
    here = case("shut off (shutdown)", start_error=error)
    assert lifecycle.online(here.run) == 0
    assert here.log.lines[-1][0] == "E"
    assert words in here.log.last
    assert "shut off" in here.log.last


# migrate


@pytest.mark.parametrize("state", ["paused (user)", "shut off (shutdown)", "no answer"])
def test_only_a_running_guest_is_migrated(state: str) -> None:
    here = case(state)
    assert lifecycle.migrate(here.run, "node2") is False
    assert here.log.last.startswith("E not migrated to node2")


def test_a_migration_that_fails_is_logged() -> None:
    here = case()
    assert lifecycle.migrate(here.run, "node2") is False
    assert "no route to node2" in here.log.last


# Every path

STATES = [
    "running (booted)",
    "running (post-copy failed)",
    "paused (user)",
    "paused (I/O error)",
    "paused (migrating)",
    "paused (starting up)",
    "in shutdown (user)",
    "shut off (shutdown)",
    "shut off (saved)",
    "crashed (panicked)",
    "pmsuspended (unknown)",
    "not defined",
    "no connection (its QEMU process is alive)",
    "no connection (no process of it)",
    "no answer",
    "error",
    "state 9 (reason 1)",
]
VERBS: dict[str, Callable[[Run], object]] = {
    "monitor": lifecycle.monitor,
    "online": lifecycle.online,
    "offline": lifecycle.offline,
    "clean": lifecycle.clean,
    "migrate": lambda run: lifecycle.migrate(run, "node2"),
}
SECONDS = st.sampled_from([0.0, 0.01, 0.3, 2.0, 10.3, 70.0, NEVER])
GUESTS = st.fixed_dictionaries(
    {
        "boot_s": SECONDS,
        "down_s": SECONDS,
        "destroy_s": SECONDS,
        "cost_s": SECONDS,
        "leftover": st.booleans(),
        "start_error": st.sampled_from([None, errors.RunsElsewhere("lock")]),
    }
)


@given(
    verb=st.sampled_from(sorted(VERBS)),
    state=st.sampled_from(STATES),
    limit_s=st.sampled_from([1, 10, 60, 300]),
    offline_s=st.sampled_from([0, 1, 30, 100000]),
    guest=GUESTS,
)
def test_no_path_outlives_its_deadline_and_none_lies(
    verb: str, state: str, limit_s: int, offline_s: int, guest: dict[str, Any]
) -> None:
    here = case(state, limit_s=limit_s, offline_s=offline_s, **guest)
    result = VERBS[verb](here.run)
    assert here.clock.now <= limit_s - here.run.deadline.reserve_s + 1e-6
    here.guest.cost_s = 0.0
    truth = here.guest.state[0]
    if verb == "clean" and result is True:
        assert truth in {"shut off", "not defined"}
        assert not guest["leftover"]
    if verb == "monitor":
        verdict = lifecycle.monitor(here.run)
        assert (verdict.state is State.OFFLINE) <= (truth in {"shut off", "not defined", "crashed"})
    if verb == "online" and guest["leftover"]:
        assert "started" not in here.guest.done


# SyncDir


@pytest.mark.parametrize(
    ("verb", "state", "saved"),
    [
        (lifecycle.offline, "running (booted)", 1),
        (lifecycle.offline, "shut off (shutdown)", 1),
        (lifecycle.offline, "shut off (migrated)", 0),
        (lifecycle.offline, "not defined", 0),
        (lifecycle.clean, "running (booted)", 1),
        (lifecycle.clean, "shut off (crashed)", 1),
        (lifecycle.clean, "not defined", 0),
        (lifecycle.online, "not defined", 1),
        (lifecycle.online, "shut off (shutdown)", 0),
        (lifecycle.monitor, "running (booted)", 0),
    ],
)
def test_when_the_configuration_goes_to_sync_dir(
    verb: Callable[[Run], object], state: str, saved: int
) -> None:
    with_dir, without = case(state, sync_dir="/sync"), case(state)
    verb(with_dir.run)
    verb(without.run)
    assert with_dir.guest.saved == saved
    assert without.guest.saved == 0


def test_a_clean_after_a_failed_online_spreads_no_stale_configuration() -> None:
    stale = case("shut off (failed)", sync_dir="/sync")
    assert lifecycle.clean(stale.run, is_online_failed=True)
    assert stale.guest.saved == 0


@pytest.mark.parametrize(
    "error", [errors.OperationFailed("no space left"), errors.Silent("no answer")]
)
def test_a_sync_dir_that_fails_changes_no_verdict(error: errors.BackendError) -> None:
    cleaned = case(sync_dir="/sync", save_error=error)
    assert lifecycle.clean(cleaned.run)
    assert cleaned.log.last.startswith("W web: saving its configuration to SyncDir failed: no ")
    started = case("not defined", sync_dir="/sync", save_error=error, online_s=7)
    assert lifecycle.online(started.run) == 7
    assert started.log.last.startswith("W ")
