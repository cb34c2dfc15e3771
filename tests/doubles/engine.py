"""A tiny double of VCS's engine: one failover group of one resource on two systems."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.doubles.framework import BIN, FAULTED, OFFLINE, ONLINE, Agent, Limits

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.lab.host import Host


class Event(NamedTuple):
    """When (seconds since the engine began) and what: "sys1 is ONLINE"."""

    at: float
    text: str


class Engine:
    """Takes hagrp's commands, and fails the group over after a fault that was cleaned.

    Attributes:
        events: everything that happened, in order.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        attributes: Mapping[str, str],
        limits: Limits,
        env: Mapping[str, str],
        bin_directory: Path = BIN,
    ) -> None:
        self.events: list[Event] = []
        self._lock = threading.RLock()
        self._start = time.monotonic()
        self._states = dict.fromkeys(hosts, OFFLINE)
        self._lost: set[str] = set()
        self._migration: tuple[str, ...] = ()
        self._switch_to = ""
        self._agents: dict[str, Agent] = {}
        with self._lock:
            for system, host in hosts.items():
                self._agents[system] = Agent(
                    system, host, attributes, limits, env, self, bin_directory
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self._agents.values():
            agent.stop()

    # Commands of the administrator

    def hagrp(self, command: str, system: str) -> None:
        """-online, -offline (on a system), -switch, -migrate (to a system)."""
        with self._lock:
            active = [name for name, state in self._states.items() if state == ONLINE]
            if command == "-online":
                self._agents[system].order("online")
            elif command == "-offline":
                self._agents[system].order("offline")
            elif command == "-switch":
                self._switch_to = system
                self._agents[active[0]].order("offline")
            else:
                assert command == "-migrate", command
                self._migration = (active[0], system)
                self._agents[active[0]].order("migrate", system)

    def probe(self, system: str) -> None:
        """Hares -probe."""
        self._agents[system].order("probe")

    def lose(self, system: str) -> None:
        """The system left the cluster: its group goes where it can."""
        with self._lock:
            self._lost.add(system)
            was = self._states[system]
            self._states[system] = OFFLINE
        self._agents[system].stop()
        if was == ONLINE:
            with self._lock:
                self._fail_over(system)

    # What the agents tell

    def note(self, system: str, sentence: str) -> None:
        """Keep a sentence about one system."""
        with self._lock:
            self.events.append(Event(time.monotonic() - self._start, f"{system} {sentence}"))

    def changed(self, system: str, state: str) -> None:
        """React to a resource's new state."""
        with self._lock:
            if system in self._lost:
                return
            self._states[system] = state
            active = [name for name, now in self._states.items() if now == ONLINE]
            if len(active) > 1 and set(active) != set(self._migration):
                self.note(system, f"CONCURRENCY VIOLATION: online on {' and '.join(active)}")
            if state == FAULTED:
                self._fail_over(system)
            elif state == OFFLINE and self._switch_to not in {"", system}:
                target, self._switch_to = self._switch_to, ""
                self._agents[target].order("online")

    def migrated(self, system: str, target: str) -> None:
        """The source is rid of the guest: the target shall have it."""
        with self._lock:
            self._states[system] = OFFLINE
            self._migration = ()
            self._agents[target].order("expect")

    def _fail_over(self, system: str) -> None:
        for name, state in self._states.items():
            if name != system and state == ONLINE:
                self.note(name, "has the group already")
                return
        for name, state in self._states.items():
            if name != system and name not in self._lost and state == OFFLINE:
                self.note(name, "takes over")
                self._agents[name].order("online")
                return
        self.note(system, "has no system to fail over to")

    # For the tests

    def wait_for(self, text: str, since: int, seconds: float) -> int:
        """Index of the first event from ``since`` on that contains the text.

        Raises:
            AssertionError: none came in time; the message has all events.
        """
        end = time.monotonic() + seconds
        while True:
            with self._lock:
                events: Sequence[Event] = tuple(self.events)
            for index in range(since, len(events)):
                if text in events[index].text:
                    return index
            assert time.monotonic() < end, f"{text!r} did not come:\n{told(events[since:])}"
            time.sleep(0.05)


def told(events: Sequence[Event]) -> str:
    """For people."""
    return "\n".join(f"{event.at:7.2f} {event.text}" for event in events)
