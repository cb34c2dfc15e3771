"""The executables as processes, over a VCS_HOME that records and libvirt's test driver."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import pytest

from tests.doubles.vcs_home import VcsHome

ROOT = Path(__file__).parent.parent.parent
BIN = ROOT / "bin"

# The name of no QEMU that this machine may run, of a laboratory under way for example.
GUEST = "contract web"

# virDomainState's numbers, which the test driver takes for a guest's first state.
STATES = {"running": 1, "idle": 2, "paused": 3, "shut off": 5, "crashed": 6, "pmsuspended": 7}

_NODE = """\
<node><cpu><mhz>6000</mhz><model>test</model><active>1</active><nodes>1</nodes><sockets>1</sockets>
<cores>1</cores><threads>1</threads></cpu><memory>8000000</memory>{domains}</node>
"""
_DOMAIN = """\
<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>
<name>{name}</name><memory>8192</memory><os><type>hvm</type></os>
<test:runstate>{number}</test:runstate></domain>
"""


class Done(NamedTuple):
    """How an entry point ended."""

    code: int
    out: str
    err: str
    seconds: float


class Agent:
    """The executables as VCS starts them; each process sees the guests in their first state."""

    def __init__(self, directory: Path, home: VcsHome) -> None:
        self.directory = directory
        self.home = home
        self.state_dir = directory / "state"
        self._conf = directory / "kvmguest.conf"
        self.configure()

    def configure(self, uri: str = "", more: str = "") -> None:
        """Write the site's options; uri: the guests of guests() unless given."""
        uri = uri or f"test://{self.directory}/node.xml"
        self._conf.write_text(
            f"[libvirt]\nuri = {uri}\n[vcs]\nstate_dir = {self.state_dir}\n{more}"
        )

    def guests(self, states: dict[str, str]) -> None:
        """Guests by name, with one of STATES."""
        domains = "".join(
            _DOMAIN.format(name=escape(name), number=STATES[state])
            for name, state in states.items()
        )
        (self.directory / "node.xml").write_text(_NODE.format(domains=domains))

    def environment(self, **env: str) -> dict[str, str]:
        """What VCS gives an entry point, and more."""
        base = {"PATH": "/usr/bin:/bin", "HOME": "/root", "VCS_HOME": str(self.home.path)}
        return {**base, "KVMGUEST_CONF": str(self._conf), **env}

    def run(
        self,
        verb: str,
        *arguments: str | bytes,
        env: dict[str, str] | None = None,
        executable: Path | None = None,
        cwd: str | Path = "/",
        prefix: Sequence[str] = (),
    ) -> Done:
        """Start an entry point for resource "res" and wait for its end."""
        command = [*prefix, str(executable or BIN / verb), *arguments]
        start = time.monotonic()
        done = subprocess.run(
            command,
            env=self.environment(**(env or {})),
            cwd=cwd,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        seconds = time.monotonic() - start
        return Done(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr), seconds)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    made = Agent(tmp_path, VcsHome(tmp_path / "vcs"))
    made.guests({GUEST: "running"})
    return made
