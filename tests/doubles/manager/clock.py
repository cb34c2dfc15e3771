"""The time the double lives in: real, faster than real, or moved by hand."""

from __future__ import annotations

import threading
import time


class Clock:
    """Seconds since the server was made.

    Args:
        scale: engine seconds per real second. 1 is real time, 60 makes a minute of the engine a
            second of the test, 0 stands still until advance() is called.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self._start = time.monotonic()
        self._advanced_s = 0.0
        self._closed = threading.Event()

    def now(self) -> float:
        return (time.monotonic() - self._start) * self.scale + self._advanced_s

    def advance(self, seconds: float) -> None:
        """Let that many engine seconds pass at once."""
        self._advanced_s += seconds

    def wait_until(self, moment: float) -> None:
        """Block until the clock shows moment or close() was called."""
        while self.now() < moment:
            left = (moment - self.now()) / self.scale if self.scale else 0.02
            if self._closed.wait(min(max(left, 0.001), 0.02)):
                return

    def pause(self, real_s: float) -> bool:
        """Wait in real seconds; False if close() ended the wait."""
        return not self._closed.wait(real_s)

    def close(self) -> None:
        self._closed.set()
