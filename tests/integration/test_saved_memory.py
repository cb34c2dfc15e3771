"""bin/online and saved memory, on a real libvirtd with real QEMU."""

from __future__ import annotations

import os
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


def test_memory_is_not_restored_over_a_disk_that_went_on(host: Host) -> None:
    disk = host.directory.parent / "shared/disk"
    disk.write_bytes(b"\0" * 65536)
    disk_xml = f"<disk type='file'><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"
    host.define(bare(GUEST, extra=disk_xml))
    host.virsh("start", GUEST)

    host.virsh("managedsave", GUEST)
    assert "given up" not in online(host)
    assert host.virsh("domstate", "--reason", GUEST) == "running (restored)"

    host.virsh("managedsave", GUEST)
    elsewhere = time.time() + 60  # another node's guest wrote to the disk
    os.utime(disk, (elsewhere, elsewhere))
    assert f"{disk} was written to after its memory was saved" in online(host)
    assert host.virsh("domstate", "--reason", GUEST) == "running (booted)"
    host.virsh("destroy", GUEST)
    assert host.virsh("domstate", "--reason", GUEST) == "shut off (destroyed)"


def online(host: Host) -> str:
    """What bin/online says."""
    words = ["GuestName", "1", GUEST, "DelayAfterGuestOnline", "1", "1", "AEPTimeout", "1", "60"]
    done = host.run([str(ROOT / "bin/online"), GUEST, *words], env={"KVMGUEST_DEBUG": "1"})
    assert done.returncode == 1, done.stderr
    return done.stderr
