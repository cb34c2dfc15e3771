"""Timelines: everything monitor says on a host while a test does something."""

from __future__ import annotations

import subprocess
import threading
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.doubles.pair import GUEST
from tests.lab.namespaces import end_group

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.lab.host import Host

ROOT = Path(__file__).resolve().parents[2]
LOOP = Path(__file__).with_name("look_loop.py")


class Look(NamedTuple):
    """One look: it saw what was the case at some moment from start to end (time.monotonic)."""

    start: float
    end: float
    code: int
    sentence: str

    @property
    def is_online(self) -> bool:
        """Whether VCS takes it for ONLINE."""
        return 101 <= self.code <= 110

    @property
    def words(self) -> str:
        """Exit code and the state: "110 running (booted)"."""
        told = self.sentence.split(": ")
        return f"{self.code} {told[2] if told[1] == 'libvirt' else told[1]}"


class Timeline:
    """Looks at the guest on one host every 20 ms, from its making to the end of its block."""

    def __init__(self, host: Host, conf: Path, every_s: float = 0.02) -> None:
        """Begin; the first look has been made when this returns."""
        self.host = host
        self.looks: list[Look] = []
        self._first = threading.Event()
        self._process = host.popen(
            ["/usr/bin/python3", "-I", str(LOOP), str(ROOT), GUEST, str(every_s), str(conf)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self._first.wait(20), f"no look on {host.name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End; harmless if repeated."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            end_group(self._process)
        self._thread.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                start, end, code, sentence = line.rstrip("\n").split(" ", 3)
                self.looks.append(Look(float(start), float(end), int(code), sentence))
                self._first.set()

    @property
    def story(self) -> list[str]:
        """The words of all looks, each once until they change."""
        return [words for words, _ in groupby(look.words for look in self.looks)]


def seconds_of(looks: list[Look]) -> str:
    """For people: how long each state was seen."""
    start = looks[0].start
    groups = [list(group) for _, group in groupby(looks, key=lambda look: look.words)]
    return "\n".join(f"{g[0].start - start:7.2f} s {len(g):4} looks  {g[0].words}" for g in groups)


def online_twice(one: Timeline, other: Timeline) -> list[str]:
    """Looks that prove ONLINE on both hosts at once: one's lies wholly between two of the other's.

    A single look cannot prove it: the guest may have moved between two that overlap.
    """
    found = []
    for inner, outer in ((one, other), (other, one)):
        online = [look for look in outer.looks if look.is_online]
        if not online:
            continue
        first, last = online[0].end, online[-1].start
        found += [
            f"{inner.host.name} at {look.start:.3f}: {look.sentence}"
            for look in inner.looks
            if look.is_online and first < look.start and look.end < last
        ]
    return found
