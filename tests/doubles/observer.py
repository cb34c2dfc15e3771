"""An observer that knows neither agent nor libvirt: where does the guest's processor really run?

It reads the kernel's accounts of the QEMU processes of all hosts ten times a second. The thread of
a paused guest's virtual processor uses no time at all, so a window in which it used some is proof
that the guest was let run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.lab.guest import read_heartbeat
from tests.lab.namespaces import LabError

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.lab.host import Host

EVERY_S = 0.1
LEAST_NS = 3_000_000
"""Less than that in a window is the thread's own housekeeping; a writer needs ten times as much."""


class Window(NamedTuple):
    """From when to when (time.monotonic), and the hosts on which the guest ran in it."""

    start: float
    end: float
    ran_on: frozenset[str]


class Observer:
    """Watches one guest on several hosts from its making until stop()."""

    def __init__(self, hosts: Mapping[str, Host], guest: str, disk: Path) -> None:
        self._hosts = hosts
        self._name = f"guest={guest},".encode()
        self._disk = disk
        self.windows: list[Window] = []
        self._used: dict[tuple[str, int], int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End; harmless if repeated."""
        self._stopped.set()
        self._thread.join()

    def complaints(self) -> list[str]:
        """Why the guest ran twice at once, as sentences; none if it never did.

        One window in which it ran on both is a hand-over; two in a row are not. The guest itself
        finds another's heartbeat on the disk where its own should have been.
        """
        found = [
            f"at {second.start:.2f} it ran on {' and '.join(sorted(second.ran_on))}"
            for first, second in zip(self.windows, self.windows[1:])
            if len(first.ran_on) > 1 and len(second.ran_on) > 1
        ]
        beat = read_heartbeat(self._disk)
        if beat and beat.foreign:
            found.append(f"it met another writer on its disk: {beat}")
        return found

    def places(self, since: float = 0.0) -> list[str]:
        """The hosts it ran on, in the order of time, a name for each stay."""
        places: list[str] = []
        for window in self.windows:
            # In the window of a hand-over it leaves its old place first.
            for name in sorted(window.ran_on, key=lambda name: name not in places[-1:]):
                if window.start >= since and (not places or places[-1] != name):
                    places.append(name)
        return places

    def _watch(self) -> None:
        start = time.monotonic()
        while not self._stopped.wait(EVERY_S):
            used = self._look()
            end = time.monotonic()
            ran = {
                name
                for (name, thread), ns in used.items()
                if ns - self._used.get((name, thread), ns) > LEAST_NS
            }
            self.windows.append(Window(start, end, frozenset(ran)))
            self._used, start = used, end

    def _look(self) -> dict[tuple[str, int], int]:
        """(host, thread id) of the guest's virtual processors -> nanoseconds they have used."""
        places = {_namespace(host): name for name, host in self._hosts.items()}
        used = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if not (entry / "comm").read_bytes().startswith(b"qemu-system"):
                    continue
                host = places.get(str((entry / "ns/pid").readlink()))
                if host is None or self._name not in (entry / "cmdline").read_bytes():
                    continue
                for thread in (entry / "task").iterdir():
                    if (thread / "comm").read_bytes().startswith(b"CPU "):
                        text = (thread / "schedstat").read_text(encoding="ascii")
                        used[host, int(thread.name)] = int(text.split()[0])
            except OSError:
                continue  # it ended just now
        return used


def _namespace(host: Host) -> str:
    try:
        return str(Path(f"/proc/{host.inside.pid}/ns/pid").readlink())
    except (OSError, LabError):
        return f"{host.name} is off"
