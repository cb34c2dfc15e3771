"""Saved memory is only restored over disks that nobody wrote to since."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmguest import guestxml
from kvmguest.saved_memory import SLACK_S, compare

SAVED_AT = 1_700_000_000


@pytest.fixture
def image(tmp_path: Path) -> str:
    return touch(tmp_path / "guest.save", SAVED_AT)


def touch(path: Path, at: float) -> str:
    path.write_bytes(b"")
    os.utime(path, (at, at))
    return str(path)


@pytest.mark.parametrize(
    ("later_s", "is_stale"), [(-3600, False), (0, False), (SLACK_S, False), (SLACK_S + 1, True)]
)
def test_a_disk_written_after_the_save_is_named(
    tmp_path: Path, image: str, later_s: float, is_stale: bool
) -> None:
    system = touch(tmp_path / "system.raw", SAVED_AT - 10)
    data = touch(tmp_path / "data.raw", SAVED_AT + later_s)
    assert compare(image, [system, data]) == ((data,) if is_stale else (), ())


def test_what_is_no_file_does_not_say(tmp_path: Path, image: str) -> None:
    disks = ["/dev/null", "pool/volume", "", str(tmp_path / "gone")]
    assert compare(image, disks) == ((), tuple(disks))


def test_without_the_image_nothing_is_known(tmp_path: Path) -> None:
    disk = touch(tmp_path / "disk", SAVED_AT)
    assert compare(str(tmp_path / "none.save"), [disk]) == ((), (disk,))


def test_only_disks_that_are_written_to_count() -> None:
    document = guestxml.parse(
        b"""<domain><name>g</name><devices>
        <disk type='file' device='disk'><source file='/d/a'/></disk>
        <disk type='block' device='lun'><source dev='/dev/b'/></disk>
        <disk type='network'><source protocol='rbd' name='pool/c'/></disk>
        <disk type='file' device='disk'><source file='/d/ro'/><readonly/></disk>
        <disk type='file' device='cdrom'><source file='/d/cd'/></disk>
        <disk type='vhostuser'/>
        </devices></domain>""",
        "test",
    )
    assert guestxml.writable_disks(document) == ["/d/a", "/dev/b", "pool/c", ""]


@pytest.mark.parametrize(("own", "named"), [("", ["/d/quorum"]), ("/d/own", ["/d/own"])])
def test_a_disk_that_other_guests_write_to_says_nothing_of_this_one(
    own: str, named: list[str]
) -> None:
    disk = "<disk type='file'><source file='{}'/>{}</disk>"
    disks = disk.format("/d/quorum", "<shareable/>") + (disk.format(own, "") if own else "")
    text = f"<domain><name>g</name><devices>{disks}</devices></domain>"
    assert guestxml.writable_disks(guestxml.parse(text.encode(), "test")) == named
