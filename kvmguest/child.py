"""Work in a child process, so that nothing that hangs can keep this one from ending.

A thread that waits for a frozen daemon is left behind by ``os._exit``, one in an uninterruptible
sleep (a write to a disk whose paths are gone) is not: until the disk comes back the kernel keeps
its process, and VCS would wait for an exit code that was decided long ago. So the child says the
code over a pipe, and this process ends with it whether or not the child can.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
from typing import Callable

_END_S = 1.0
"""The end of a child that does not hang takes a millisecond."""


def run(seconds: float, work: Callable[[], int], failed: int) -> int:
    """What ``work`` returns, an exit code; ``failed`` if it raises, dies or takes longer.

    What the child prints is printed here when it is over, except on a terminal, where nobody waits
    for the end of a stream that a hanging child would hold open. The child ends when this process
    is killed.
    """
    while os.open(os.devnull, os.O_RDWR) <= 2:
        pass  # VCS may start us without standard streams, and no pipe of ours shall become one
    answer, tell = os.pipe()
    lives, life = os.pipe()
    streams = {fd: os.memfd_create("output") for fd in (1, 2) if not os.isatty(fd)}
    pid = os.fork()
    if pid == 0:
        code = failed
        try:
            os.close(life)
            # SIGIO, which ends us, when the last writer is gone; a thread would cost 0.8 ms.
            fcntl.fcntl(lives, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(lives, fcntl.F_SETFL, os.O_ASYNC)
            for fd, kept in streams.items():
                os.dup2(kept, fd)
            code = work()
        finally:
            os.write(tell, bytes([code]))
            os._exit(code)
    os.close(tell)
    told = _read_within(answer, seconds)
    if told == b"" or (told and _read_within(answer, _END_S) == b""):
        os.waitpid(pid, 0)
    for fd, kept in streams.items():
        _copy(kept, fd)
    return told[0] if told else failed


def _read_within(pipe: int, seconds: float) -> bytes | None:
    """A byte; b"" once the other end is closed, None when the seconds are over."""
    ready, _, _ = select.select([pipe], [], [], seconds)
    return os.read(pipe, 1) if ready else None


def _copy(kept: int, fd: int) -> None:
    os.lseek(kept, 0, os.SEEK_SET)
    with contextlib.suppress(OSError):  # nobody listens
        while data := os.read(kept, 65536):
            while data:
                data = data[os.write(fd, data) :]
