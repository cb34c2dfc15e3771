"""The documents of the laboratory's guests, and its readers, without any guest."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from tests.lab.guest import bare, obedient, read_heartbeat, wait_for_console
from tests.lab.image import Image
from tests.lab.namespaces import LabError

IMAGE = Image(Path("/boot/a&b"), Path("/boot/i<d"))
CONSOLE = Path('/tmp/it\'s "here"')


def words_of(document: etree._Element) -> list[str]:
    return (document.findtext("os/cmdline") or "").split()


def test_a_bare_guest_has_no_disk_and_no_kernel() -> None:
    document = etree.fromstring(bare("g<1>"))
    assert document.get("type") == "qemu"
    assert document.findtext("name") == "g<1>"
    assert document.find("uuid") is None
    assert document.find("os/kernel") is None
    assert document.find("devices/disk") is None


def test_names_and_paths_are_quoted() -> None:
    document = etree.fromstring(obedient("a&b", IMAGE, CONSOLE, uuid="u", disk=Path("/x'&\"y")))
    assert document.findtext("name") == "a&b"
    assert document.findtext("uuid") == "u"
    assert document.findtext("os/kernel") == "/boot/a&b"
    assert document.findtext("os/initrd") == "/boot/i<d"
    assert document.findall("devices/serial/source")[0].get("path") == str(CONSOLE)
    assert document.findall("devices/disk/source")[0].get("file") == "/x'&\"y"


def test_a_plain_obedient_guest_does_nothing_but_obey() -> None:
    document = etree.fromstring(obedient("g", IMAGE, CONSOLE))
    assert "tag=g" in words_of(document)
    assert not {"cd", "deaf", "writer"} & set(words_of(document))
    assert not [word for word in words_of(document) if word.startswith("load=")]
    assert document.find("devices/disk") is None
    assert document.find("devices/panic") is None
    assert document.findtext("on_crash") == "destroy"


def test_every_wish_is_in_the_document() -> None:
    document = etree.fromstring(
        obedient(
            "g",
            IMAGE,
            CONSOLE,
            memory_mib=96,
            words=["deaf", "writer"],
            tag="east",
            load_mib=7,
            cdrom=Path("/c.iso"),
            disk=Path("/d"),
            disk_format="qcow2",
            shareable=True,
            panic=True,
            extra="<watchdog model='i6300esb'/>",
        )
    )
    assert document.findtext("memory") == "96"
    assert {"cd", "deaf", "writer", "tag=east", "load=7"} <= set(words_of(document))
    cdrom, disk = document.findall("devices/disk")
    assert cdrom.get("device") == "cdrom"
    assert cdrom.find("readonly") is not None
    assert disk.find("shareable") is not None
    assert disk.findall("driver")[0].get("type") == "qcow2"
    assert document.find("devices/panic") is not None
    assert document.findtext("on_crash") == "preserve"
    assert document.find("devices/watchdog") is not None


def test_a_disk_nobody_wrote_to_has_no_heartbeat(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\0" * 1024)
    assert read_heartbeat(disk) is None


def test_a_heartbeat_is_read(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"east 1234-5 17 2\n".ljust(512))
    beat = read_heartbeat(disk)
    assert beat is not None
    assert (beat.tag, beat.boot, beat.beats, beat.foreign) == ("east", "1234-5", 17, 2)


def test_a_console_is_read_from_where_the_caller_says(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text("guest: ready\nguest: power button\n", encoding="ascii")
    assert wait_for_console(console, "ready") == console.read_text(encoding="ascii")
    with pytest.raises(LabError, match="power button"):
        wait_for_console(console, "ready", timeout=0, start=5 + len("guest: ready"))


def test_a_console_that_never_comes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no 'ready'"):
        wait_for_console(tmp_path / "none", "ready", timeout=0)
