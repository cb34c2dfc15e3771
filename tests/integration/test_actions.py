"""guestmigrated over real migrations, and DevScan in a mount namespace with a /sys of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guest import bare
from tests.lab.host import Host, Lab

pytestmark = pytest.mark.hypervisor

BIN = Path(__file__).resolve().parents[2] / "bin"
GUEST = "wanderer"
TUPLES = ("res", "GuestName", "1", GUEST)


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Host, Host]]:
    with Lab() as lab:
        yield lab.host("one"), lab.host("two")


def monitor(host: Host) -> int:
    return host.run([str(BIN / "monitor"), *TUPLES]).returncode


def mark(host: Host, *arguments: str) -> tuple[int, str]:
    done = host.run([str(BIN / "actions/guestmigrated"), *TUPLES, str(len(arguments)), *arguments])
    return done.returncode, done.stdout.strip()


def migrate(source: Host, target: Host) -> None:
    source.virsh(
        "migrate", "--live", "--p2p", "--persistent", "--undefinesource", GUEST, target.peer_uri
    )


def test_the_mark_follows_a_guest_that_is_moved_by_hand(nodes: tuple[Host, Host]) -> None:
    one, two = nodes
    one.define(bare(GUEST))
    one.virsh("start", GUEST)
    code, line = mark(one, "two")
    assert (code, line) == (
        1,
        "not marked as migrated: wanderer: libvirt: running (booted): ONLINE, confidence 100",
    )

    migrate(one, two)
    assert monitor(two) == 110
    assert monitor(one) == 100, "libvirt here has forgotten it, so nobody can tell"
    assert mark(one, "two") == (
        0,
        "wanderer is marked as migrated away from this node, to two",
    )
    assert monitor(one) == 200
    one.kill_libvirtd()
    one.start_libvirtd()
    assert monitor(one) == 200

    migrate(two, one)  # it is seen here again: the mark goes
    assert monitor(one) == 110
    migrate(one, two)
    assert monitor(one) == 100

    mark(one)
    one.define(bare(GUEST))  # so it is when somebody defines it again
    assert monitor(one) == 100
    one.virsh("undefine", GUEST)
    assert monitor(one) == 100

    mark(one)
    two.virsh("destroy", GUEST)
    document = one.directory / "guest.xml"
    document.write_text(bare(GUEST))
    words = ["GuestConfigFilePath", "1", str(document), "SyncDir", "1", str(document.parent)]
    assert one.run([str(BIN / "online"), *TUPLES, *words]).returncode == 5
    one.run([str(BIN / "clean"), TUPLES[0], "4", *TUPLES[1:]])
    one.virsh("undefine", GUEST)
    assert monitor(one) == 100, "and when it is brought online"
    two.virsh("undefine", GUEST)


def test_a_definition_left_behind_needs_no_mark(nodes: tuple[Host, Host]) -> None:
    one, two = nodes
    one.define(bare(GUEST))
    one.virsh("start", GUEST)
    one.virsh("migrate", "--live", "--p2p", "--persistent", GUEST, two.peer_uri)
    assert monitor(one) == 200
    code, line = mark(one)
    assert code == 0
    assert line.endswith("shut off (migrated): INTENTIONAL OFFLINE; no mark is needed")
    two.virsh("destroy", GUEST)
    two.virsh("undefine", GUEST)
    one.virsh("undefine", GUEST)


def test_devscan_through_its_executable(nodes: tuple[Host, Host], tmp_path: Path) -> None:
    """Another /sys and another multipath, in a mount namespace that ends with the command."""
    sysfs, sbin = tmp_path / "sys", tmp_path / "sbin"
    scan = sysfs / "class/scsi_host/host7/scan"
    (sysfs / "block/sda").mkdir(parents=True)
    scan.parent.mkdir(parents=True)
    scan.touch()
    sbin.mkdir()
    (sbin / "multipath").write_text("#!/bin/sh\nmkdir /sys/block/dm-3\n")
    (sbin / "multipath").chmod(0o755)
    script = f'mount --bind {sysfs} /sys && mount --bind {sbin} /usr/sbin && exec "$@"'
    command = [str(BIN / "actions/DevScan"), *TUPLES, "AEPTimeout", "1", "30"]
    done = nodes[0].run(["unshare", "-m", "sh", "-c", script, "sh", *command])
    assert (done.returncode, done.stdout) == (
        0,
        "SCSI hosts scanned: 1; multipath maps reloaded; new: dm-3\n",
    )
    assert done.stderr == ""
    assert scan.read_text() == "- - -\n"
