"""The bridge's mapping, with entry points that only answer: no cluster needed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

BRIDGE = Path(__file__).with_name("node") / "ocf/kvmguest"
HASYS = Path(__file__).with_name("node") / "vcs/bin/hasys"
RUNNING, ERROR, NOT_RUNNING = 0, 1, 7


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    for verb in ("online", "monitor", "offline", "clean", "migrate"):
        answers(tmp_path, verb, 0)
    return tmp_path


def answers(bin_dir: Path, verb: str, code: int) -> None:
    """Make an entry point that notes its arguments and ends with this code."""
    program = bin_dir / verb
    program.write_text(f'#!/bin/sh\necho {verb} "$@" >>{bin_dir}/calls\nexit {code}\n')
    program.chmod(0o755)


def bridge(bin_dir: Path, action: str, timeout_s: int = 40) -> tuple[int, str]:
    """Call an action as Pacemaker does; its exit code, and the entry points it called."""
    words = {
        "OCF_RESOURCE_INSTANCE": "vm",
        "OCF_RESKEY_bin": str(bin_dir),
        "OCF_RESKEY_guest": "web 1",
        "OCF_RESKEY_config": "/x.xml",
        "OCF_RESKEY_CRM_meta_timeout": str(timeout_s * 1000),
        "OCF_RESKEY_CRM_meta_migrate_target": "node2",
    }
    done = subprocess.run([str(BRIDGE), action], env=words, check=False, timeout=30)
    calls = bin_dir / "calls"
    return done.returncode, calls.read_text() if calls.exists() else ""


@pytest.mark.parametrize("action", ["monitor", "migrate_from"])
@pytest.mark.parametrize(
    ("codes", "answer"),
    [(range(101, 111), RUNNING), ((100, 200), NOT_RUNNING), ((99, 0, 1, 111, 127), ERROR)],
)
def test_only_100_and_200_are_not_running(
    bin_dir: Path, action: str, codes: range | tuple[int, ...], answer: int
) -> None:
    for code in codes:
        answers(bin_dir, "monitor", code)
        assert bridge(bin_dir, action)[0] == answer, code


def test_the_arguments_are_those_of_vcs(bin_dir: Path) -> None:
    _, calls = bridge(bin_dir, "migrate_to")
    assert calls == (
        "migrate vm GuestName 1 web 1 GuestConfigFilePath 1 /x.xml DelayAfterGuestOnline 1 1 "
        "DelayAfterGuestOffline 1 30 VCSInfo 2 TargetHost node2 AEPTimeout 1 40\n"
    )


@pytest.mark.parametrize(("code", "answer"), [(0, 0), (1, ERROR)])
def test_stopped_is_only_what_clean_has_verified(bin_dir: Path, code: int, answer: int) -> None:
    answers(bin_dir, "clean", code)
    exit_code, calls = bridge(bin_dir, "stop")
    assert exit_code == answer
    offline, clean = calls.splitlines()
    assert offline.startswith("offline vm GuestName")
    assert offline.endswith("AEPTimeout 1 20")
    assert clean.startswith("clean vm 1 GuestName")


@pytest.mark.parametrize(("code", "answer"), [(0, 0), (255, ERROR)])
def test_a_migration_succeeds_only_with_0(bin_dir: Path, code: int, answer: int) -> None:
    answers(bin_dir, "migrate", code)
    assert bridge(bin_dir, "migrate_to")[0] == answer


@pytest.mark.parametrize(("code", "answer"), [(110, RUNNING), (100, ERROR), (99, ERROR)])
def test_a_start_that_is_not_seen_to_run_has_failed(bin_dir: Path, code: int, answer: int) -> None:
    answers(bin_dir, "monitor", code)
    assert bridge(bin_dir, "start")[0] == answer


def test_its_description_has_no_side_effect(bin_dir: Path) -> None:
    done = subprocess.run([str(BRIDGE), "meta-data"], capture_output=True, env={}, check=True)
    assert ET.fromstring(done.stdout).get("name") == "kvmguest"  # noqa: S314 - our own
    assert bridge(bin_dir, "validate-all") == (0, "")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (["-list"], "node1\nnode2\n"),
        (["-state", "node1"], "RUNNING\n"),
        (["-state", "node2"], "FAULTED\n"),
        (["-state", "node"], ""),
    ],
)
def test_a_lost_node_is_what_vcs_calls_faulted(
    tmp_path: Path, question: list[str], answer: str
) -> None:
    engine = tmp_path / "crm_node"
    engine.write_text("#!/bin/sh\necho 1 node1 member\necho 2 node2 lost\n")
    engine.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        [str(HASYS), *question], capture_output=True, text=True, env={"PATH": path}, check=True
    )
    assert done.stdout == answer
