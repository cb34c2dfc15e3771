"""What ``hares -action`` gets: one short line on stdout, nothing else, and 0 or 1.

libvirt's test driver stands in for a hypervisor: it knows a running guest ``test`` and no other.
The other names are such that no QEMU of this machine has them.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACTIONS = ("DevScan", "guestmigrated", "vmconfigsync")
ABSENT = ("GuestName", "1", "absent_guest")

Act = Callable[..., "tuple[int, str]"]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    options = tmp_path / "kvmguest.conf"
    options.write_text(
        f"[libvirt]\nuri = test:///default\n[vcs]\nstate_dir = {tmp_path / 'state'}\n"
    )
    return {"KVMGUEST_CONF": str(options), "VCS_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}


@pytest.fixture
def act(env: Mapping[str, str]) -> Act:
    """Run an executable; its exit code and its one line."""

    def run(command: str, *words: str, resource: str = "res") -> tuple[int, str]:
        done = start(env, command, [resource, *words])
        assert done.stderr == b""
        assert len(done.stdout) <= 2048
        assert done.stdout.count(b"\n") == 1
        return done.returncode, done.stdout.decode().rstrip("\n")

    return run


def start(
    env: Mapping[str, str], command: str, words: Sequence[str]
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [ROOT / "bin" / command, *words], env=env, capture_output=True, timeout=30, check=False
    )


def monitor(env: Mapping[str, str], guest: str) -> int:
    return start(env, "monitor", ["res", "GuestName", "1", guest]).returncode


def test_there_is_an_executable_for_each_token_of_the_type() -> None:
    types = (ROOT / "types/KVMGuestTypes.cf").read_text()
    tokens = re.search(r"SupportedActions = \{(.*?)\}", types)
    assert tokens
    assert sorted(re.findall(r'"(\w+)"', tokens[1]), key=str) == sorted(ACTIONS)
    assert sorted(os.listdir(ROOT / "bin/actions")) == sorted(ACTIONS)
    assert all(os.access(ROOT / "bin/actions" / token, os.X_OK) for token in ACTIONS)


def test_the_mark_turns_absence_into_intentional_offline(act: Act, env: dict[str, str]) -> None:
    assert monitor(env, "absent_guest") == 100
    marked = (0, "absent_guest is marked as migrated away from this node, to node2")
    assert act("actions/guestmigrated", *ABSENT, "ACTION_ARGS", "1", "node2") == marked
    assert monitor(env, "absent_guest") == 200
    assert act("actions/guestmigrated", *ABSENT) == marked
    assert monitor(env, "absent_guest2") == 100, "a changed GuestName does not inherit it"
    assert act("actions/guestmigrated", *ABSENT, "1", "clear")[0] == 0
    assert monitor(env, "absent_guest") == 100


def test_the_mark_goes_when_the_guest_is_seen_again(act: Act, env: dict[str, str]) -> None:
    assert act("actions/guestmigrated", "GuestName", "1", "test")[0] == 1, "it runs here"
    # The test driver's guest is always there, so the note is planted by hand.
    (Path(env["KVMGUEST_CONF"]).parent / "state").mkdir(mode=0o700, exist_ok=True)
    note = Path(env["KVMGUEST_CONF"]).parent / "state" / "res.migrated"
    note.write_text("test\nnode2")
    assert monitor(env, "test") == 110
    assert not note.exists()


def test_a_running_guest_is_not_marked(act: Act) -> None:
    code, line = act("actions/guestmigrated", "GuestName", "1", "test")
    assert code == 1
    assert line == (
        "not marked as migrated: test: libvirt: running (unknown): ONLINE, confidence 100"
    )


def test_a_node_that_cannot_tell_marks_nothing(act: Act, env: dict[str, str]) -> None:
    Path(env["KVMGUEST_CONF"]).write_text("[libvirt]\nuri = qemu+unix:///system?socket=/nowhere\n")
    code, line = act("actions/guestmigrated", "GuestName", "1", "absent_guest")
    assert code == 1
    assert "no connection" in line


def test_the_configuration_is_written_at_once(act: Act, tmp_path: Path) -> None:
    sync = tmp_path / "sync"
    sync.mkdir()
    words = ("GuestName", "1", "test", "SyncDir", "1", str(sync), "AEPTimeout", "1", "30")
    assert act("actions/vmconfigsync", *words) == (0, f"test: saved {sync}/test.xml")
    assert "<name>test</name>" in (sync / "test.xml").read_text()
    assert act("actions/vmconfigsync", *words) == (0, "test: SyncDir is up to date")
    code, line = act("actions/vmconfigsync", *words, "ACTION_ARGS", "1", "redefine")
    assert (code, line) == (
        1,
        "test: not synchronised: test is not off, or has a managed save image",
    )


def test_a_guest_that_is_not_defined_here_is_not_called_saved(act: Act, tmp_path: Path) -> None:
    code, line = act("actions/vmconfigsync", *ABSENT, "SyncDir", "1", str(tmp_path))
    assert code == 1
    assert line.startswith("absent_guest: not synchronised: ")
    assert "Domain not found" in line


def test_a_line_that_would_be_too_long_is_cut(act: Act, tmp_path: Path) -> None:
    path = f"{tmp_path}/{'very-long/' * 300}"
    code, line = act("actions/vmconfigsync", "GuestName", "1", "test", "SyncDir", "1", path)
    assert code == 1
    assert line.startswith("test: not synchronised: ")


def test_devscan_on_this_machine_ends_well(act: Act) -> None:
    before = os.listdir("/sys/block")
    code, line = act("actions/DevScan", "GuestName", "1", "absent_guest")
    assert code == 0
    assert line.endswith("nothing new")
    assert os.listdir("/sys/block") == before


@pytest.mark.parametrize("token", ACTIONS)
def test_the_shell_s_form_is_the_same(act: Act, env: dict[str, str], token: str) -> None:
    words = ["res", "GuestName", "1", "absent_guest"]
    done = start(env, "action", [token, *words])
    assert (done.returncode, done.stdout.decode().strip()) == act(f"actions/{token}", *words[1:])


@pytest.mark.parametrize("words", [[], ["nonsense", "res", "GuestName", "1", "absent_guest"]])
def test_an_unknown_token_lists_the_known_ones(env: dict[str, str], words: list[str]) -> None:
    done = start(env, "action", words)
    assert done.returncode == 1
    assert done.stdout.count(b"\n") == 1


@pytest.mark.parametrize("token", ACTIONS)
def test_a_bad_configuration_is_told(act: Act, token: str) -> None:
    code, line = act(f"actions/{token}", "GuestName", "1", "", "SyncDir", "1", "relative")
    assert code == 1
    assert line.startswith("bad configuration: ")
    assert "GuestName is empty" in line
    assert "must be an absolute path" in line


@pytest.mark.parametrize("token", ["guestmigrated", "vmconfigsync"])
def test_a_guest_of_rhev_m_needs_neither(act: Act, token: str) -> None:
    access = ("URL", "https://127.0.0.1:1", "User", "u@internal", "Password", "x")
    code, line = act(f"actions/{token}", *ABSENT, "RHEVMInfo", "8", "Enabled", "1", *access)
    assert code == 0
    assert "RHEV-M" in line


def test_a_locale_that_cannot_print_the_name_does_not_matter(env: dict[str, str]) -> None:
    env["LC_ALL"] = "C"
    done = start(env, "actions/guestmigrated", ["res", "GuestName", "1", "gäst-else"])
    assert done.returncode == 0
    assert done.stdout.decode().startswith("gäst-else is marked as migrated")


def test_an_action_keeps_its_time_limit(env: dict[str, str], tmp_path: Path) -> None:
    """A libvirtd that takes the connection and says nothing."""
    import socket
    import time

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        Path(env["KVMGUEST_CONF"]).write_text(
            f"[libvirt]\nuri = qemu+unix:///system?socket={tmp_path / 's'}\n"
        )
        began = time.monotonic()
        words = ["res", "GuestName", "1", "absent_guest", "AEPTimeout", "1", "4"]
        done = start(env, "actions/guestmigrated", words)
        assert time.monotonic() - began < 4
    assert done.returncode == 1
    assert b"no answer" in done.stdout
