"""The entry points on a host of the laboratory, as VCS starts them there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.doubles.vcs_home import Message, VcsHome
from tests.lab.host import Host

BIN = Path(__file__).parent.parent.parent / "bin"


class Ended(NamedTuple):
    """How an entry point ended: its exit code, how long it took, and what it logged."""

    code: int
    seconds: float
    messages: Sequence[Message]

    @property
    def log(self) -> str:
        """What it logged, as one text: "E web: not started ..."."""
        return "\n".join(f"{message.severity} {message.text}" for message in self.messages)


class Running(NamedTuple):
    """An entry point that was begun."""

    process: subprocess.Popen[str]
    start: float
    home: VcsHome
    known: int


class Agent:
    """bin/ on one host, with a VCS_HOME that records what is logged."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self._directory = directory
        self._homes = 0
        self._home = self._new_home()
        self.env: dict[str, str] = {}

    def _new_home(self) -> VcsHome:
        self._homes += 1
        return VcsHome(self._directory / f"vcs-{self.host.name}-{self._homes}", helper=False)

    def configure(self, text: str) -> None:
        """Write /etc/kvmguest.conf of the host; "" removes it."""
        path = self.host.directory / "etc/kvmguest.conf"
        if text:
            path.write_text(text)
        else:
            path.unlink(missing_ok=True)

    def begin(self, verb: str, guest: str, **more: str) -> Running:
        """Start an entry point for the resource "res" and the guest.

        Args:
            verb: its name.
            guest: GuestName.
            more: further attributes and their values. AEPTimeout is 60 unless given.
        """
        return self._begin(self._home, verb, guest, more)

    def _begin(self, home: VcsHome, verb: str, guest: str, more: Mapping[str, str]) -> Running:
        attributes = {"GuestName": guest, "AEPTimeout": "60", **more}
        words = [word for name, value in attributes.items() for word in (name, "1", value)]
        reason = ["4"] if verb == "clean" else []
        known = len(home.messages())
        pipe = subprocess.PIPE
        process = self.host.popen(
            [str(BIN / verb), "res", *reason, *words],
            env={"VCS_HOME": str(home.path), **self.env},
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
        )
        return Running(process, time.monotonic(), home, known)

    @staticmethod
    def finish(running: Running) -> Ended:
        """Wait for its end. It must not have printed anything."""
        out, err = running.process.communicate(timeout=120)
        seconds = time.monotonic() - running.start
        assert (out, err) == ("", "")
        return Ended(running.process.returncode, seconds, running.home.messages()[running.known :])

    def run(self, verb: str, guest: str, **more: str) -> Ended:
        """Start an entry point and wait for its end."""
        return self.finish(self.begin(verb, guest, **more))

    def at_once(self, *verbs: str, guest: str, **more: str) -> dict[str, Ended]:
        """Several entry points at the same time, to save time."""
        begun = {verb: self._begin(self._new_home(), verb, guest, more) for verb in verbs}
        return {verb: self.finish(running) for verb, running in begun.items()}

    def monitor(self, guest: str, **more: str) -> int:
        """Monitor's exit code."""
        return self.run("monitor", guest, **more).code
