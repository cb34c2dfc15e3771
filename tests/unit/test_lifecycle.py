"""What the entry points do, over a guest that behaves, on a clock of its own."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmguest import arglist, errors, lifecycle
from kvmguest.deadline import Deadline
from kvmguest.lifecycle import Run
from kvmguest.log import Log
from kvmguest.states import State, Verdict
from tests.doubles.fake_backend import NEVER, FakeBackend, FakeClock


class Messages(Log):
    """A log that is kept in memory."""

    def __init__(self) -> None:
        super().__init__("res", "verb", {"VCS_HOME": "/nonexistent"}, "/x/verb")
        self.lines: list[tuple[str, str]] = []

    def _write(self, severity: str, text: str) -> None:
        self.lines.append((severity, text))

    @property
    def last(self) -> str:
        return " ".join(self.lines[-1])


class Case(NamedTuple):
    run: Run
    guest: FakeBackend
    clock: FakeClock
    log: Messages


def case(
    state: str = "running (booted)",
    *,
    limit_s: float = 300,
    online_s: int = 5,
    offline_s: int = 30,
    sync_dir: str = "",
    **guest: Any,
) -> Case:
    clock = FakeClock()
    deadline = Deadline(limit_s, clock, clock.sleep)
    name, _, reason = state.rstrip(")").partition(" (")
    backend = FakeBackend(clock, deadline, (name, reason), **guest)
    words = ["GuestName", "1", "web", "DelayAfterGuestOnline", "1", str(online_s)]
    words += ["SyncDir", "1", sync_dir]
    config = arglist.parse("res", [*words, "DelayAfterGuestOffline", "1", str(offline_s)])
    log = Messages()
    return Case(Run(config, backend, deadline, log), backend, clock, log)


def answers_after(here: Case, seconds: float, state: tuple[str, str]) -> None:
    """From then on libvirt can be asked again, and this is what it says."""
    look = here.guest.look

    def answer() -> Verdict:
        if here.clock.now > seconds:
            here.guest.look = look  # type: ignore[method-assign]
            here.guest.state = state
        return look()

    here.guest.look = answer  # type: ignore[method-assign]


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


# offline


def test_offline_returns_as_soon_as_the_guest_is_down() -> None:
    here = case(down_s=2)
    lifecycle.offline(here.run)
    assert here.guest.done == ["heard the button", "shut down"]
    assert 2 <= here.clock.now < 3
    assert here.log.last.startswith("I shut down")


def test_offline_asks_again_half_way() -> None:
    """A guest that boots is deaf; VCS would destroy it when offline returned without effect."""
    here = case(boot_s=10, down_s=1, offline_s=30)
    lifecycle.offline(here.run)
    assert here.guest.done == ["heard the button", "shut down"]
    assert 16 <= here.clock.now < 17


def test_offline_of_a_deaf_guest_ends_after_its_delay() -> None:
    here = case(offline_s=30, boot_s=NEVER)
    lifecycle.offline(here.run)
    assert here.guest.done == []
    assert 30 <= here.clock.now < 32
    assert here.log.last.startswith("W not down 30 s after the first request")
    assert "running" in here.log.last


def test_offline_never_outlives_its_deadline_and_still_knows_the_state() -> None:
    here = case(offline_s=3000, limit_s=100, boot_s=NEVER)
    lifecycle.offline(here.run)
    assert 80 < here.clock.now <= 90
    assert "libvirt: running" in here.log.last


def test_offline_with_no_delay_asks_once_and_goes() -> None:
    here = case(offline_s=0)
    lifecycle.offline(here.run)
    assert here.clock.now < 1
    assert here.guest.done == ["heard the button"]


@pytest.mark.parametrize(
    ("state", "roused"),
    [
        ("paused (user)", "resumed"),
        ("paused (from snapshot)", "resumed"),
        ("paused (I/O error)", "resumed"),
        ("pmsuspended (unknown)", "woken"),
    ],
)
def test_offline_rouses_a_guest_that_could_not_hear(state: str, roused: str) -> None:
    """Measured: shutdown of a paused domain says "not running" and leaves it paused."""
    here = case(state)
    lifecycle.offline(here.run)
    assert here.guest.done == [roused, "heard the button", "shut down"]


@pytest.mark.parametrize(
    "state", ["shut off (shutdown)", "shut off (saved)", "shut off (migrated)", "not defined"]
)
def test_offline_of_what_does_not_run_here(state: str) -> None:
    here = case(state)
    lifecycle.offline(here.run)
    assert here.guest.done == []
    assert here.clock.now < 1


def test_offline_of_a_panicked_guest_ends_its_process() -> None:
    """Its state is OFFLINE, so no clean follows, and its process would keep the disks."""
    here = case("crashed (panicked)")
    lifecycle.offline(here.run)
    assert here.guest.done == ["destroyed"]


def test_offline_waits_for_a_libvirt_that_is_away_for_a_moment() -> None:
    """VCS destroys what still runs when offline returns."""
    here = case("no connection (its QEMU process is alive)")
    answers_after(here, 3, ("running", "booted"))
    lifecycle.offline(here.run)
    assert here.guest.done == ["heard the button", "shut down"]
    assert 4 <= here.clock.now < 5


@pytest.mark.parametrize(
    "state", ["no connection (its QEMU process is alive)", "no answer", "error"]
)
def test_offline_in_the_dark_says_so(state: str) -> None:
    here = case(state)
    lifecycle.offline(here.run)
    assert here.guest.done == []
    assert here.log.last.startswith("E")


def test_offline_does_not_wait_long_for_a_libvirt_when_there_is_no_process_to_shut_down() -> None:
    here = case("no connection (no process of it)")
    lifecycle.offline(here.run)
    assert here.guest.done == []
    assert here.log.last.startswith("E")
    assert 5 <= here.clock.now < 6
    here = case("no connection (no process of it)")
    answers_after(here, 3, ("shut off", "crashed"))
    lifecycle.offline(here.run)
    assert "nothing to do" in here.log.last


# clean


@pytest.mark.parametrize(
    "state",
    [
        "running (booted)",
        "paused (user)",
        "paused (I/O error)",
        "paused (starting up)",
        "pmsuspended (unknown)",
        "crashed (panicked)",
        "paused (crashed)",
        "in shutdown (user)",
        "no state (unknown)",
        "state 9 (reason 1)",
    ],
)
def test_clean_ends_the_guest_whatever_it_does(state: str) -> None:
    here = case(state)
    assert lifecycle.clean(here.run) is True
    assert here.guest.done == ["destroyed"]


@pytest.mark.parametrize("state", ["shut off (shutdown)", "shut off (migrated)", "not defined"])
def test_clean_of_what_does_not_run_here(state: str) -> None:
    here = case(state)
    assert lifecycle.clean(here.run) is True
    assert here.guest.done == []


def test_clean_of_a_stuck_qemu() -> None:
    here = case(limit_s=60, destroy_s=10.3)
    assert lifecycle.clean(here.run) is True
    assert here.clock.now < 12


def test_clean_that_cannot_end_the_guest_says_no_and_why() -> None:
    here = case(limit_s=60, destroy_s=NEVER)
    assert lifecycle.clean(here.run) is False
    assert here.clock.now <= 54
    assert here.log.last.startswith("E web: destroy failed: no answer")


def test_clean_that_was_refused_shows_the_guest_still_running() -> None:
    here = case(limit_s=60)

    def refuse() -> None:
        raise errors.Refused("not permitted")

    here.guest.destroy = refuse  # type: ignore[method-assign]
    assert lifecycle.clean(here.run) is False
    assert "not permitted" in here.log.last
    assert "libvirt: running" in here.log.last


def test_clean_believes_what_it_sees_and_not_what_destroy_says() -> None:
    here = case()
    destroy = here.guest.destroy

    def lose_the_answer() -> None:
        destroy()
        raise errors.Unreachable("the link broke")

    here.guest.destroy = lose_the_answer  # type: ignore[method-assign]
    assert lifecycle.clean(here.run) is True


def test_clean_does_not_believe_a_destroy_without_effect() -> None:
    here = case(limit_s=60)
    here.guest.destroy = lambda: None  # type: ignore[method-assign]
    assert lifecycle.clean(here.run) is False
    assert "destroy had no effect; web: libvirt: running" in here.log.last


@pytest.mark.parametrize(
    "state",
    ["no connection (its QEMU process is alive)", "no connection (no process of it)", "no answer"],
)
def test_clean_in_the_dark_is_no_success(state: str) -> None:
    assert lifecycle.clean(case(state).run) is False


def test_clean_beside_a_process_that_libvirt_does_not_know_is_no_success() -> None:
    here = case("shut off (destroyed)", leftover=True)
    assert lifecycle.clean(here.run) is False
    assert here.guest.done == []


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
