"""Nothing of a laboratory is left on the machine, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import bare
from tests.lab.host import Lab, remove_leftovers
from tests.lab.namespaces import LabError, is_alive, wait_until_gone
from tests.lab.packages import LAB_PACKAGES, ensure_packages

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

pytestmark = pytest.mark.hypervisor

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def _packages(tmp_path_factory: pytest.TempPathFactory) -> None:
    ensure_packages([*LAB_PACKAGES], tmp_path_factory.mktemp("packages") / "log")


def machine_state() -> tuple[str, str]:
    """What the machine has of network devices and mounts."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    return links, mounts


def processes_in(namespaces: AbstractSet[str]) -> list[int]:
    """All processes that are in one of the namespaces, each named as in "net:[4026532000]"."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            own = {str((entry / "ns" / kind).readlink()) for kind in ("net", "pid", "mnt")}
        except OSError:
            continue
        if own & namespaces:
            found.append(int(entry.name))
    return found


def namespaces_of(pid: int) -> AbstractSet[str]:
    kinds = ("net", "pid", "mnt", "uts")
    ours = {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds}
    theirs = {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in kinds}
    assert len(theirs - ours) == len(kinds)
    return theirs


def test_nothing_is_left_when_it_is_closed() -> None:
    before = machine_state()
    with Lab() as other:
        host = other.host("kvm1")
        host.define(bare("g"))
        host.virsh("start", "g")
        host.freeze_qemu("g")
        pids = [host.libvirtd_pid, host.qemu_pid("g")]
        namespaces = namespaces_of(pids[0])
        host.kill_libvirtd()
        assert processes_in(namespaces)
    assert not processes_in(namespaces)
    assert not any(is_alive(pid) for pid in pids)
    assert not other.directory.exists()
    assert machine_state() == before


def test_nothing_is_left_of_a_host_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_state()
    with Lab() as other:
        monkeypatch.setattr("tests.lab.host_files._LIBVIRTD_CONF", "this is no configuration\n")
        with pytest.raises(LabError, match="libvirtd did not start"):
            other.host("kvm1")
        assert not (other.directory / "kvm1").exists()
        monkeypatch.undo()
        assert other.host("kvm1").virsh("uri") == "qemu:///system"
    assert not other.directory.exists()
    assert machine_state() == before


def test_only_a_directory_is_left_of_a_run_that_was_killed() -> None:
    before = machine_state()
    script = """
import sys, time
from tests.lab.guest import bare
from tests.lab.host import Lab
lab = Lab()
host = lab.host("kvm1")
host.define(bare("g"))
host.virsh("start", "g")
print(lab.directory, host.libvirtd_pid, host.qemu_pid("g"), flush=True)
time.sleep(600)
"""
    run = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    assert run.stdout
    with run.stdout as answer:
        directory, *pids = answer.readline().decode().split()
    assert Path(directory) not in remove_leftovers()
    namespaces = namespaces_of(int(pids[0]))
    os.kill(run.pid, signal.SIGKILL)
    run.wait(10)
    for pid in [*map(int, pids), *processes_in(namespaces)]:  # the kernel ends them one by one
        wait_until_gone(pid, 10)
    assert not processes_in(namespaces)
    assert Path(directory) in remove_leftovers()
    assert not Path(directory).exists()
    assert machine_state() == before
