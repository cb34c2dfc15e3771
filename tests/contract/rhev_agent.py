"""The executables of bin/, run as VCS runs them, against a double of RHEV-M and one of VCS."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest

from tests.doubles.manager import Manager
from tests.doubles.vcs_home import VcsHome

ROOT = Path(__file__).parents[2]
CIPHER = "HTIvKTlTNnINjNKnL"
SECRET = "planted-Pa55/word&<>+%"
"""The password in every test: it may be found nowhere, and it needs quoting everywhere."""
HERE = "h1"
"""This node's host in the double; [hosts] says so."""
UNSET = "NONE"
SEVERITIES = {"CRITICAL": "C", "ERROR": "E", "WARNING": "W", "INFO": "I"}


GENERATIONS = ("3.6", "4.4")
"""One engine of each API generation."""


class Done(NamedTuple):
    """How a call ended: its exit code, its time in seconds, and its messages to VCS's log."""

    code: int
    seconds: float
    texts: list[str]
    severities: list[str]

    @property
    def text(self) -> str:
        """All messages as one."""
        return "\n".join(self.texts)


class RhevAgent:
    """One node with one resource g1, whose RHEV-M is the double."""

    def __init__(self, tmp_path: Path, manager: Manager) -> None:
        self.manager = manager
        # Without its loggers: the messages are read from stderr, which is far quicker.
        self.home = VcsHome(tmp_path / "vcs", helper=False, halog=False)
        self.home.answer("decrypt", f"{SECRET}\n")
        self.state_dir = tmp_path / "state"
        self.conf = tmp_path / "kvmguest.conf"
        self.info = {
            "Enabled": "1",
            "URL": manager.root,
            "User": manager.user_name,
            "Password": CIPHER,
            "Cluster": "c1",
            "UseManualRHEVMFencing": "0",
        }
        self.env = {
            "VCS_HOME": str(self.home.path),
            "KVMGUEST_CONF": str(self.conf),
            "PATH": "/usr/bin:/bin",
            "KVMGUEST_DEBUG": "1",
        }
        self.options = {
            "rhev": {"ca_file": manager.ca_file},
            "vcs": {
                "state_dir": str(self.state_dir),
                "decrypt_command": self.home.decrypt_command,
            },
            "hosts": {socket.gethostname(): HERE, "NodeTwo": "h2"},
        }

    def write_options(self) -> None:
        """Write kvmguest.conf where it changed: other calls may be reading it."""
        sections = (
            "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in values.items())])
            for name, values in self.options.items()
        )
        text = "\n".join(sections) + "\n"
        if not self.conf.exists() or self.conf.read_text() != text:
            self.conf.write_text(text)

    def command(
        self, verb: str, *leading: str, limit_s: int = 20, guest: str = "g1", **tuples: str
    ) -> list[str]:
        """An entry point's command line. Tuples by name; blanks separate a tuple's values."""
        self.write_options()
        info = [word for pair in self.info.items() for word in pair]
        more = [word for name, text in tuples.items() for word in _tuple(name, text.split())]
        return [
            str(ROOT / "bin" / verb),
            "g1",
            *leading,
            *_tuple("GuestName", [guest]),
            *_tuple("RHEVMInfo", info),
            *more,
            *_tuple("AEPTimeout", [str(limit_s)]),
        ]

    def start(
        self, verb: str, *leading: str, limit_s: int = 20, **tuples: str
    ) -> subprocess.Popen[bytes]:
        """Start an entry point; see command()."""
        return subprocess.Popen(
            self.command(verb, *leading, limit_s=limit_s, **tuples),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, verb: str, *leading: str, limit_s: int = 20, **tuples: str) -> Done:
        """Run an entry point to its end; it must keep its limit, and print only its log."""
        begin = time.monotonic()
        process = self.start(verb, *leading, limit_s=limit_s, **tuples)
        out, err = process.communicate(timeout=limit_s + 20)
        seconds = time.monotonic() - begin
        assert out == b""
        assert seconds < limit_s
        return Done(process.returncode, seconds, *_messages(err.decode()))

    def monitor(self, *, limit_s: int = 20, **tuples: str) -> Done:
        """Run monitor; 99, 100 to 110 or 200."""
        return self.run("monitor", limit_s=limit_s, **tuples)

    def fresh_monitor(self) -> Done:
        """A monitor that logs its sentence even when it is the same as the last one's."""
        (self.state_dir / "g1").unlink(missing_ok=True)
        return self.monitor()

    def secrets_found(self) -> list[str]:
        """Where the password, or a form of it, lies about: files and recorded calls."""
        forms = {SECRET.encode(), *_encoded()}
        found = []
        for directory, _below, names in os.walk(self.state_dir.parent):
            for name in names:
                path = Path(directory, name)
                if path == self.home.path / "answers" / "decrypt":
                    continue
                if any(form in path.read_bytes() for form in forms):
                    found.append(str(path))
        return found


def _encoded() -> list[bytes]:
    from base64 import b64encode
    from urllib.parse import quote, quote_plus

    whole = b64encode(f"admin@internal:{SECRET}".encode())
    return [whole, quote(SECRET, safe="").encode(), quote_plus(SECRET).encode()]


def _messages(text: str) -> tuple[list[str], list[str]]:
    """Texts and severities of the lines that are meant for VCS's log."""
    assert SECRET not in text
    pairs = [line.split(": ", 1) for line in text.splitlines()]
    logged = [(pair[0], pair[1]) for pair in pairs if pair[0] in SEVERITIES]
    return [text for _word, text in logged], [SEVERITIES[word] for word, _text in logged]


def _tuple(name: str, values: list[str]) -> list[str]:
    return [name, str(len(values)), *values]


def assert_unknown(done: Done, *texts: str) -> None:
    """Monitor answered UNKNOWN, and its sentence says all of this."""
    assert done.code == 99, done.text
    for text in texts:
        assert text in done.text


def node(tmp_path: Path, profile: str) -> Iterator[RhevAgent]:
    """For a fixture: two hosts, a VM that is down, time ten times as fast as ours."""
    with Manager(profile, hosts=["h1", "h2"], vms=["g1"], scale=10, password=SECRET) as manager:
        agent = RhevAgent(tmp_path, manager)
        yield agent
        assert manager.split_brains == []
        assert agent.secrets_found() == []


def watching_node(tmp_path: Path, profile: str) -> Iterator[RhevAgent]:
    """For a fixture: a guest that is up here, and nothing may be ordered."""
    with Manager(profile, hosts=["h1", "h2"], vms=["g1"], scale=0, password=SECRET) as manager:
        manager.put("g1", "up", "h1")
        agent = RhevAgent(tmp_path, manager)
        yield agent
        assert manager.commands == []
        assert agent.secrets_found() == []


def fixtures(made: Callable[[Path, str], Iterator[RhevAgent]]) -> tuple[Any, Any]:
    """A module's fixtures ``agent``, one of each API generation, and ``one_agent``.

    The second is for where the generation makes no difference. ``made`` is node or watching_node.
    """

    @pytest.fixture(params=GENERATIONS)
    def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RhevAgent]:
        yield from made(tmp_path, request.param)

    @pytest.fixture
    def one_agent(tmp_path: Path) -> Iterator[RhevAgent]:
        yield from made(tmp_path, "4.4")

    return agent, one_agent
