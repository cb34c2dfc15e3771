"""What no process test can reach: faults of the agent's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmguest import arglist, entry, lifecycle, vcs
from tests.doubles.vcs_home import VcsHome

WORDS = ["res", "GuestName", "1", "guest of a unit test", "AEPTimeout", "1", "20"]


@pytest.fixture
def home(tmp_path: Path) -> VcsHome:
    return VcsHome(tmp_path / "vcs")


def env(home: VcsHome) -> dict[str, str]:
    conf = home.path / "kvmguest.conf"
    uri = "test:///default"
    conf.write_text(f"[libvirt]\nuri = {uri}\n[vcs]\nstate_dir = {home.path}/state\n")
    return {"VCS_HOME": str(home.path), "KVMGUEST_CONF": str(conf)}


def fail(*_arguments: object, **_options: object) -> None:
    raise ZeroDivisionError("a fault of the agent's own")


@pytest.mark.parametrize(
    ("module", "name"), [(lifecycle, "monitor"), (arglist, "parse"), (vcs, "monitor_exit")]
)
def test_a_fault_of_its_own_is_unknown_with_the_traceback_in_the_log(
    monkeypatch: pytest.MonkeyPatch, home: VcsHome, module: object, name: str
) -> None:
    monkeypatch.setattr(module, name, fail)
    assert entry.run("monitor", WORDS, env(home)) == vcs.EXIT_UNKNOWN
    (message,) = home.messages()
    assert message.severity == "E"
    assert "ZeroDivisionError: a fault of the agent's own" in message.text


def test_a_clean_that_failed_by_itself_is_no_success(
    monkeypatch: pytest.MonkeyPatch, home: VcsHome
) -> None:
    monkeypatch.setattr(lifecycle, "clean", fail)
    assert entry.run("clean", ["res", "4", *WORDS[1:]], env(home)) == vcs.EXIT_FAILED


def test_run_can_be_called_for_many_requests(home: VcsHome) -> None:
    """A resident worker may one day call it."""
    assert [entry.run("monitor", WORDS, env(home)) for _request in range(3)] == [100, 100, 100]
    assert len(home.messages()) == 1
