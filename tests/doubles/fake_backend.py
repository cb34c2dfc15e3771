"""A guest that behaves, in memory and on a clock that only moves when somebody waits.

It knows the ways of libvirt and QEMU that were measured: a guest that boots is deaf to the power
button, a paused one refuses it, a stuck QEMU takes 10.3 s to destroy, a request to a frozen QEMU
gets no answer, and a daemon that is away answers nothing.
"""

from __future__ import annotations

from kvmguest import errors
from kvmguest.deadline import Deadline
from kvmguest.states import LibvirtSeen, Verdict, judge_libvirt

NEVER = float("inf")

_RUNNING = ("running", "booted")
_PAUSED = ("paused", "user")


class FakeClock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


class FakeBackend:
    """A guest under a backend; every call takes ``cost_s`` of the clock, within the deadline.

    Args:
        clock: time.
        deadline: what no call may outlive.
        state: libvirt's state and reason.
        boot_s: until so long after the start of the test or of the guest, it ignores the button.
        down_s: how long it takes to shut down once it has heard.
        destroy_s: how long its end by force takes; NEVER: it does not end.
        cost_s: how long each call takes; NEVER: the daemon is frozen.
        start_error: what start raises.
        leftover: libvirt calls it off, but its process is here.
        save_error: what save_configuration raises.
    """

    def __init__(
        self,
        clock: FakeClock,
        deadline: Deadline,
        state: tuple[str, str] = _RUNNING,
        *,
        boot_s: float = 0.0,
        down_s: float = 1.0,
        destroy_s: float = 0.1,
        cost_s: float = 0.01,
        start_error: errors.BackendError | None = None,
        leftover: bool = False,
        save_error: errors.BackendError | None = None,
    ) -> None:
        self._clock = clock
        self._deadline = deadline
        self.state = state
        self._deaf_until = boot_s
        self._boot_s = boot_s
        self._down_s = down_s
        self._down_at = NEVER
        self._destroy_s = destroy_s
        self.cost_s = cost_s
        self._start_error = start_error
        self._leftover = leftover
        self._save_error = save_error
        self.saved = 0
        """How often the configuration went to SyncDir."""
        self.done: list[str] = []
        """What really happened to the guest, in order; refused requests are not in it."""

    def look(self) -> Verdict:
        try:
            self._spend(self.cost_s)
        except errors.Silent as error:
            return judge_libvirt(LibvirtSeen("web", "no answer", "", detail=str(error)))
        state, reason = self._now()
        return judge_libvirt(
            LibvirtSeen("web", state, reason, qemu_pid=7 if self._leftover else None)
        )

    def start(self) -> None:
        self._spend(self.cost_s)
        if self._start_error:
            raise self._start_error
        if self._now()[0] not in {"shut off", "not defined"}:
            raise errors.WrongState("domain is already running")
        self._become(_RUNNING, "started")
        self._deaf_until = self._clock.now + self._boot_s

    def resume(self) -> None:
        self._spend(self.cost_s)
        if self._now()[0] != "paused":
            raise errors.WrongState("domain is not paused")
        self._become(_RUNNING, "resumed")

    def wake(self) -> None:
        self._spend(self.cost_s)
        if self._now()[0] != "pmsuspended":
            raise errors.WrongState("domain is not suspended")
        self._become(_RUNNING, "woken")

    def shutdown(self) -> None:
        self._spend(self.cost_s)
        if self._now()[0] != "running":
            raise errors.WrongState("domain is not running")
        if self._clock.now >= self._deaf_until and self._down_at == NEVER:
            self._down_at = self._clock.now + self._down_s
            self.done.append("heard the button")

    def destroy(self) -> None:
        self._spend(self._destroy_s)
        if self._now()[0] in {"shut off", "not defined"}:
            raise errors.WrongState("domain is not running")
        self._become(("shut off", "destroyed"), "destroyed")

    def save_configuration(self) -> str:
        self._spend(self.cost_s)
        if self._save_error:
            raise self._save_error
        if self._now()[0] == "not defined":
            raise errors.GuestNotFound("nothing is known of it")
        self.saved += 1
        return "saved /sync/web.xml"

    def redefine(self) -> str:
        self._spend(self.cost_s)
        if self._now()[0] not in {"shut off", "not defined"}:
            raise errors.WrongState("domain is not off")
        return "redefined"

    def migrate(self, target: str) -> bool:
        self._spend(self.cost_s)
        raise errors.OperationFailed(f"no route to {target}")

    def _now(self) -> tuple[str, str]:
        if self._clock.now >= self._down_at and self.state[0] == "running":
            self._become(("shut off", "shutdown"), "shut down")
        return self.state

    def _become(self, state: tuple[str, str], what: str) -> None:
        self.state = state
        self._down_at = NEVER
        self.done.append(what)

    def _spend(self, seconds: float) -> None:
        """A call takes its time, but the real backend never waits longer than its slice."""
        slice_s = self._deadline.slice(seconds)
        self._clock.sleep(slice_s)
        if slice_s < seconds:
            raise errors.Silent(f"no answer in {slice_s:.1f} s")
