"""Scenarios: text files that say what happens to a node pair and what shall follow.

Each line of a file is one of::

    # what it is about, and why
    guest deaf writer          words of the guest (tests.lab.guest); writer is always there
    set MonitorInterval 2      a limit of the framework, or an attribute of the resource
    > sys1 virsh suspend web   do it now; then go on reading
    > wait for boot            until a guest says on its console that it is ready
    sys1 is OFFLINE            this must come next in the engine's record, whatever is between
    never is FAULTED           must not be in the record at all
    runs on sys1 sys2          where the observer saw the guest run, in this order
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.doubles.engine import Engine, told
from tests.doubles.framework import Limits
from tests.doubles.observer import Observer
from tests.doubles.pair import GUEST, Pair
from tests.lab.guest import READY, wait_for_console
from tests.lab.host import Host

DIRECTORY = Path(__file__).resolve().parents[1] / "scenarios"
PATIENCE_S = 40.0
XML = "/etc/web.xml"
"""Each host has its own /etc, so each can have another (or a broken) document."""

ATTRIBUTES = {
    "GuestName": GUEST,
    "DelayAfterGuestOnline": "1",
    "DelayAfterGuestOffline": "10",
    "GuestConfigFilePath": XML,
}


class Scenario(NamedTuple):
    """A file, read. ``steps``: (is an action, text) in order."""

    words: tuple[str, ...]
    limits: Limits
    attributes: Mapping[str, str]
    steps: tuple[tuple[bool, str], ...]
    never: tuple[str, ...]
    places: tuple[str, ...]


def read(path: Path) -> Scenario:
    """Read a scenario."""
    words: tuple[str, ...] = ("writer",)
    limits: dict[str, float] = {}
    attributes = dict(ATTRIBUTES)
    steps: list[tuple[bool, str]] = []
    never: list[str] = []
    places: tuple[str, ...] = ()
    for line in path.read_text(encoding="utf-8").splitlines():
        first, _, rest = line.partition(" ")
        if first == "guest":
            words += tuple(rest.split())
        elif first == "set":
            name, value = rest.split()
            limit = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
            if limit in Limits._fields:
                limits[limit] = int(value)
            else:
                attributes[name] = value
        elif first == "never":
            never.append(rest)
        elif line.startswith("runs on "):
            places = tuple(rest.split()[1:])
        elif line and first != "#":
            steps.append((first == ">", rest if first == ">" else line))
    made = Limits(**limits)  # type: ignore[arg-type] # seconds and counts alike
    return Scenario(words, made, attributes, tuple(steps), tuple(never), places)


class Stage:
    """Plays one scenario on a pair of hosts."""

    def __init__(self, pair: Pair, scenario: Scenario) -> None:
        self._pair = pair
        self._scenario = scenario
        self._hosts = {"sys1": pair.kvm1, "sys2": pair.kvm2}
        pair.disk.write_bytes(b"\0" * 65536)
        pair.console.write_bytes(b"")
        self._console_at = 0
        for host in pair.hosts:
            self._file(host).write_text(pair.document(words=scenario.words), encoding="utf-8")

    def play(self) -> None:
        """Do the steps, wait for what shall follow, and check what must never be.

        Raises:
            AssertionError: the message has the whole record.
        """
        scenario = self._scenario
        env = {"KVMGUEST_CONF": str(self._pair.conf), "KVMGUEST_DEBUG": "1"}
        engine = Engine(self._hosts, scenario.attributes, scenario.limits, env)
        with Observer(self._hosts, GUEST, self._pair.disk) as observer:
            with engine:
                at = 0
                for is_action, text in scenario.steps:
                    if is_action:
                        at = len(engine.events)
                        self._act(engine, text)
                    else:
                        at = engine.wait_for(text, at, PATIENCE_S) + 1
                time.sleep(0.5)
            record = told(engine.events)
        print(record)
        assert not observer.complaints(), record
        for text in scenario.never:
            assert text not in record, f"{text!r} must not be in:\n{record}"
        assert observer.places() == list(scenario.places), record

    def _act(self, engine: Engine, text: str) -> None:
        engine.note(">", text)
        subject, verb, *words = text.split()
        if subject == "hagrp":
            engine.hagrp(verb, words[0])
        elif text == "wait for boot":
            printed = wait_for_console(self._pair.console, READY, start=self._console_at)
            self._console_at += len(printed.encode())
        elif subject == "wait":
            time.sleep(float(verb))
        else:
            acts: Mapping[str, Callable[[str, list[str]], None]] = {
                "virsh": self._virsh,
                "kill": self._kill,
                "freeze": self._freeze,
                "thaw": self._thaw,
                "restart": self._restart,
                "break": self._break,
                "probe": lambda system, _words: engine.probe(system),
                "power-off": lambda system, _words: self._power_off(engine, system),
            }
            acts[verb](subject, words)

    @staticmethod
    def _file(host: Host) -> Path:
        return host.directory / XML.lstrip("/")

    def _virsh(self, system: str, words: list[str]) -> None:
        self._hosts[system].virsh(*words)

    def _kill(self, system: str, words: list[str]) -> None:
        host = self._hosts[system]
        {"qemu": lambda: host.kill_qemu(GUEST), "libvirtd": host.kill_libvirtd}[words[0]]()

    def _freeze(self, system: str, words: list[str]) -> None:
        host = self._hosts[system]
        {"qemu": lambda: host.freeze_qemu(GUEST), "libvirtd": host.freeze_libvirtd}[words[0]]()

    def _thaw(self, system: str, words: list[str]) -> None:
        host = self._hosts[system]
        {"qemu": lambda: host.thaw_qemu(GUEST), "libvirtd": host.thaw_libvirtd}[words[0]]()

    def _restart(self, system: str, words: list[str]) -> None:
        """Libvirtd so many times, with the processors busy."""
        host = self._hosts[system]
        with host.popen(["timeout", "20", "sh", "-c", "while :; do :; done"]) as load:
            for _ in range(int(words[1])):
                host.kill_libvirtd()
                time.sleep(0.4)
                host.start_libvirtd()
                time.sleep(1)
            host.run(["pkill", "-x", "timeout"])
            load.wait(20)

    def _break(self, system: str, _words: list[str]) -> None:
        self._file(self._hosts[system]).write_text("<domain><name>web</name>", encoding="utf-8")

    def _power_off(self, engine: Engine, system: str) -> None:
        self._hosts[system].power_off()
        engine.lose(system)
