"""One monotonic time budget per entry point, and calls that cannot outlive their slice of it."""

from __future__ import annotations

import threading
import time
from typing import Callable, Generic, TypeVar

from kvmguest.errors import Silent

T = TypeVar("T")

_RESERVE_MIN_S = 5.0
_RESERVE_SHARE = 0.1
_LAST_LOOK_S = 1.0


class Deadline:
    """Seconds that are left to an entry point.

    VCS kills the entry point after ``limit_s``. The working budget is shorter by a reserve (5 s or
    a tenth, but never more than half), which pays for the last log line and the exit.
    """

    def __init__(
        self,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock = clock
        self._sleep = sleep
        self.limit_s = limit_s
        self.reserve_s = min(max(_RESERVE_MIN_S, limit_s * _RESERVE_SHARE), limit_s / 2)
        self._end = clock() + limit_s - self.reserve_s

    def remaining(self) -> float:
        """Seconds left to work, never negative."""
        return max(0.0, self._end - self.clock())

    def remaining_hard(self) -> float:
        """Seconds after which the process must end, whatever it is doing: half the reserve."""
        return max(0.0, self._end + self.reserve_s / 2 - self.clock())

    def slice(self, seconds: float) -> float:
        """At most ``seconds`` of what is left."""
        return min(seconds, self.remaining())

    def sleep(self, seconds: float) -> None:
        """Sleep that long, but not past the end."""
        self._sleep(self.slice(seconds))

    def poll(self, until: Callable[[], T | None], seconds: float) -> T | None:
        """``poll`` for that long, but leave time to look once more before the end."""
        seconds = min(seconds, self.remaining() - _LAST_LOOK_S)
        return poll(until, seconds, clock=self.clock, sleep=self._sleep)


class Pending(Generic[T]):
    """A call under way in a thread of its own.

    A call into libvirt that waits for a frozen daemon can be neither interrupted nor signalled,
    so the thread is abandoned: it is a daemon thread, and the process ends with ``os._exit``,
    which does not wait for it. For one that hangs in the kernel, see child.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._result: list[T] = []
        self._error: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, args=(function,), daemon=True)
        self._thread.start()

    def _work(self, function: Callable[[], T]) -> None:
        try:
            self._result.append(function())
        except BaseException as caught:  # noqa: BLE001 - handed to the caller, whatever it is
            self._error.append(caught)

    def has_ended(self, seconds: float) -> bool:
        """Wait at most that long for the end; say whether it has come."""
        self._thread.join(seconds)
        return bool(self._result or self._error)

    def result(self, what: str, seconds: float) -> T:
        """What the call returned, or raise what it raised.

        Raises:
            Silent: no end within ``seconds``; ``what`` names the call in the message.
        """
        if not self.has_ended(seconds):
            raise Silent(f"{what}: no answer in {seconds:.1f} s")
        if self._error:
            raise self._error[0]
        return self._result[0]


def call_within(seconds: float, what: str, function: Callable[[], T]) -> T:
    """Run ``function`` in a thread of its own and return its result; see Pending.

    Raises:
        Silent: no result within ``seconds``; ``what`` names the call in the message. With no
            seconds left the call is not even begun.
    """
    if seconds <= 0:
        raise Silent(f"{what}: no time left to ask")
    return Pending(function).result(what, seconds)


def poll(
    until: Callable[[], T | None],
    seconds: float,
    *,
    every_s: float = 0.25,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T | None:
    """Call ``until`` until it gives something other than None, or ``seconds`` are over."""
    end = clock() + seconds
    while True:
        found = until()
        left = end - clock()
        if found is not None or left <= 0:
            return found
        sleep(min(every_s, left))
