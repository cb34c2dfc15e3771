"""bin/online and memory that stood still while the disk went on, on a real libvirtd and QEMU."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guest import bare
from tests.lab.host import Host, Lab

pytestmark = pytest.mark.hypervisor

ROOT = Path(__file__).resolve().parents[2]
GUEST = "saved"


@pytest.fixture
def host() -> Iterator[Host]:
    with Lab() as lab:
        yield lab.host("one")


@pytest.fixture
def disk(host: Host) -> Path:
    """The disk of a guest that runs."""
    disk = host.directory.parent / "shared/disk"
    disk.write_bytes(b"\0" * 65536)
    disk_xml = f"<disk type='file'><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"
    host.define(bare(GUEST, extra=disk_xml))
    host.virsh("start", GUEST)
    return disk


def write_elsewhere(disk: Path) -> None:
    """What is seen of a disk that another node's guest wrote to a minute later."""
    later = time.time() + 60
    os.utime(disk, (later, later))


def test_memory_is_not_restored_over_a_disk_that_went_on(host: Host, disk: Path) -> None:
    host.virsh("managedsave", GUEST)
    done = run(host, "online")
    assert done.returncode == 1
    assert "given up" not in done.stderr
    assert state(host) == "running (restored)"

    host.virsh("managedsave", GUEST)
    write_elsewhere(disk)
    done = run(host, "online")
    assert done.returncode == 1
    assert f"{disk} was written to after its memory was saved" in done.stderr
    assert state(host) == "running (booted)"
    host.virsh("destroy", GUEST)
    assert state(host) == "shut off (destroyed)"


def test_a_paused_guest_does_not_go_on_over_a_disk_that_did(host: Host, disk: Path) -> None:
    """Paused on this node, the cluster then ran it on another, and now wants it back here."""
    host.virsh("suspend", GUEST)
    done = run(host, "online")
    assert (done.returncode, state(host)) == (1, "running (unpaused)")

    host.virsh("suspend", GUEST)
    write_elsewhere(disk)
    for verb in ("online", "offline"):
        done = run(host, verb)
        assert done.returncode == 0
        assert f"{disk} was written to after it was paused here" in done.stderr
        assert state(host) == "paused (user)"
    assert run(host, "clean", "3").returncode == 0
    assert run(host, "online").returncode == 1
    assert state(host) == "running (booted)"


def state(host: Host) -> str:
    return host.virsh("domstate", "--reason", GUEST)


def run(host: Host, verb: str, *reason: str) -> subprocess.CompletedProcess[str]:
    """An entry point, as VCS starts it."""
    delays = ("DelayAfterGuestOnline", "1", "1", "DelayAfterGuestOffline", "1", "2")
    words = ["GuestName", "1", GUEST, *delays, "AEPTimeout", "1", "60"]
    program = str(ROOT / "bin" / verb)
    return host.run([program, GUEST, *reason, *words], env={"KVMGUEST_DEBUG": "1"})
