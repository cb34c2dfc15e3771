"""A run of an entry point over a guest that behaves, on a clock of its own."""

from __future__ import annotations

from typing import Any, NamedTuple

from kvmguest import arglist
from kvmguest.deadline import Deadline
from kvmguest.lifecycle import Run
from kvmguest.log import Log
from kvmguest.states import Verdict
from tests.doubles.fake_backend import FakeBackend, FakeClock


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
