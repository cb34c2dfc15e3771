"""What offline and clean do, over a guest that behaves, on a clock of its own."""

from __future__ import annotations

import pytest

from kvmguest import errors, lifecycle
from tests.doubles.fake_backend import NEVER
from tests.doubles.fake_run import answers_after, case

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


def test_offline_waits_for_a_libvirt_that_is_away_where_no_process_is_left_too() -> None:
    """A cluster engine answers a clean that cannot verify with the power switch (seen)."""
    here = case("no connection (no process of it)")
    answers_after(here, 12, ("shut off", "crashed"))
    lifecycle.offline(here.run)
    assert "nothing to do" in here.log.last
    assert lifecycle.clean(here.run)


def test_the_guest_has_all_of_its_delay_though_it_takes_long_to_be_asked() -> None:
    here = case("paused (user)", offline_s=30, down_s=25, cost_s=2)
    lifecycle.offline(here.run)
    assert "shut down" in here.guest.done


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
