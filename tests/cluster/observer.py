"""An observer that knows no agent: QEMU processes on both nodes, and what is on the shared disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.lab.guest import Heartbeat, read_heartbeat
from tests.lab.host import Host

EVERY_S = 0.1
#: A guest beats 20 times a second; on a busy machine it may miss some.
GAP_S = 1.5


class Event(NamedTuple):
    """Something that changed: when (time.monotonic), and one sentence."""

    at: float
    text: str


class Record(NamedTuple):
    """What was seen between two moments.

    Attributes:
        gaps: (start, end) of every time without a beat longer than GAP_S; an end of None is open.
        boots: boot ids in the order in which they came, each as often as it came.
        foreign: how often a guest found another's beat where its own had been.
        events: what changed.
    """

    gaps: tuple[tuple[float, float | None], ...]
    boots: tuple[str, ...]
    foreign: int
    events: tuple[Event, ...]

    @property
    def has_two_writers(self) -> bool:
        """Whether the data shows that two guests wrote: they say so, or their boots alternate."""
        return self.foreign > 0 or len(set(self.boots)) < len(self.boots)


class Observer:
    """Looks ten times a second, in a thread of its own."""

    def __init__(self, nodes: Mapping[str, Host], disk: Path, guest: str) -> None:
        self._nodes = nodes
        self._disk = disk
        self._name = f"guest={guest},".encode()
        self._lock = threading.Lock()
        self._is_closed = False
        self._processes: dict[str, tuple[str, ...]] = {}
        self._beat: Heartbeat | None = None
        self._beat_at = time.monotonic()
        self._forget()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._is_closed = True
        self._thread.join()

    def begin(self) -> None:
        """Forget what was seen so far, but not what is the case."""
        with self._lock:
            self._forget()

    def record(self) -> Record:
        """What was seen since begin()."""
        with self._lock:
            gaps = list(self._gaps)
            if time.monotonic() - self._beat_at > GAP_S:
                gaps.append((self._beat_at, None))
            return Record(tuple(gaps), tuple(self._boots), self._foreign, tuple(self._events))

    def processes(self) -> dict[str, tuple[str, ...]]:
        """The guest's QEMU processes by node, looked for now: "PID", "PID frozen"."""
        return {
            name: tuple(f"{pid}{' frozen' if is_frozen else ''}" for pid, is_frozen in found)
            for name, found in self._look_for_processes().items()
        }

    def pids(self, node: str) -> list[int]:
        """The process ids of the guest's QEMUs on one node."""
        return [pid for pid, _ in self._look_for_processes()[node]]

    def silence_s(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._beat_at

    def _forget(self) -> None:
        self._gaps: list[tuple[float, float | None]] = []
        self._boots: list[str] = [self._beat.boot] if self._beat else []
        self._events: list[Event] = []
        self._foreign = 0
        self._foreign_before = self._beat.foreign if self._beat else 0

    def _watch(self) -> None:
        while not self._is_closed:
            started = time.monotonic()
            processes = self.processes()
            beat = _beat_on(self._disk)
            with self._lock:
                self._note_processes(processes)
                if beat is not None and beat != self._beat:
                    self._note_beat(beat)
            time.sleep(max(0.02, EVERY_S - (time.monotonic() - started)))

    def _note_processes(self, processes: dict[str, tuple[str, ...]]) -> None:
        if processes != self._processes:
            words = "; ".join(f"{n}: {', '.join(p) or '-'}" for n, p in processes.items())
            self._events.append(Event(time.monotonic(), f"QEMU {words}"))
            self._processes = processes

    def _note_beat(self, beat: Heartbeat) -> None:
        now = time.monotonic()
        if now - self._beat_at > GAP_S:
            self._gaps.append((self._beat_at, now))
            self._events.append(Event(now, f"beats again after {now - self._beat_at:.1f} s"))
        if not self._beat or beat.boot != self._beat.boot:
            self._boots.append(beat.boot)
            self._events.append(Event(now, f"boot {beat.boot[:8]} writes"))
            self._foreign_before = 0
        if beat.foreign > self._foreign_before:
            if not self._foreign:
                self._events.append(Event(now, f"boot {beat.boot[:8]} finds ANOTHER WRITER"))
            self._foreign += beat.foreign - self._foreign_before
            self._foreign_before = beat.foreign
        self._beat, self._beat_at = beat, now

    def _look_for_processes(self) -> dict[str, list[tuple[int, bool]]]:
        found: dict[str, list[tuple[int, bool]]] = {name: [] for name in self._nodes}
        places = {_namespace(host): name for name, host in self._nodes.items()}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if not (entry / "comm").read_bytes().startswith(b"qemu-system"):
                    continue
                node = places.get(str((entry / "ns/pid").readlink()))
                state = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
                is_ours = self._name in (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it ended just now
            if node and is_ours and state not in {"Z", "X"}:
                found[node].append((int(entry.name), state == "T"))
        return found


def _namespace(host: Host) -> str:
    try:
        return str(Path(f"/proc/{host.inside.pid}/ns/pid").readlink())
    except (OSError, RuntimeError):  # LabError is one: it is switched off
        return f"{host.name} is off"


def _beat_on(disk: Path) -> Heartbeat | None:
    try:
        return read_heartbeat(disk)
    except (OSError, ValueError):  # ValueError: read while it was being written
        return None
