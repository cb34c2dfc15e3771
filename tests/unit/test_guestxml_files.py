"""Domain documents as files: hostile ones, identity, comparison, and replacing them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmguest import guestxml
from kvmguest.errors import OperationFailed

UUID = "7b0b9365-cf3e-4d2f-931b-f9c42c173a10"
GOOD = f"<domain type='kvm'><name>web</name><uuid>{UUID}</uuid><devices/></domain>"

HOSTILE = {
    "empty": b"",
    "cut short": GOOD[:60].encode(),
    "not XML": b"\x7fELF\0\0",
    "zeros": bytes(4096),
    "another document": b"<network><name>web</name></network>",
    "DTD": b"<!DOCTYPE domain [<!ENTITY a 'b'>]><domain><name>&a;</name></domain>",
    "external entity": (
        b"<!DOCTYPE domain [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>"
        b"<domain><name>web</name><title>&a;</title></domain>"
    ),
    "entity bomb": (
        b"<!DOCTYPE domain [<!ENTITY a 'aaaaaaaaaa'>"
        + b"".join(
            f"<!ENTITY a{n} '{f'&a{n - 1 if n else str()};' * 10}'>".encode() for n in range(12)
        )
        + b"]><domain><name>&a11;</name></domain>"
    ),
    "external DTD": b"<!DOCTYPE domain SYSTEM 'http://192.0.2.1/d'><domain><name>web</name></domain>",
    "deep nesting": b"<domain><name>web</name>" + b"<a>" * 100_000,
    "too large": b"<domain><name>web</name>" + b" " * guestxml.MAX_BYTES + b"</domain>",
    "bad bytes": b"<domain><name>web\xff</name></domain>",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_bad_document_is_refused_quickly(raw: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(OperationFailed, match="the file"):
        guestxml.parse(raw, "the file")
    assert time.monotonic() - start < 2


@given(st.binary(max_size=300))
def test_any_bytes_are_a_document_or_a_refusal(raw: bytes) -> None:
    try:
        guestxml.parse(raw, "x")
    except OperationFailed:
        return
    assert b"domain" in raw


def test_identity() -> None:
    document = guestxml.parse(GOOD.encode(), "x")
    assert (document.name, document.uuid) == ("web", UUID.replace("-", ""))
    bare = guestxml.parse(b"<domain><name>web</name></domain>", "x")
    assert (bare.name, bare.uuid, bare.nvram) == ("web", "", "")


@pytest.mark.parametrize(
    ("os_element", "path"),
    [
        ("<os><nvram>/n/web.fd</nvram></os>", "/n/web.fd"),
        ("<os><nvram type='file'>\n <source file='/n/web.fd'/>\n</nvram></os>", "/n/web.fd"),
        ("<os><nvram type='block'><source dev='/dev/vg/nv'/></nvram></os>", ""),
        ("<os firmware='efi'/>", "/var/lib/libvirt/qemu/nvram/web_VARS.fd"),
        ("<os firmware='bios'/>", ""),
    ],
)
def test_where_the_uefi_variables_are(os_element: str, path: str) -> None:
    raw = GOOD.replace("<devices/>", os_element).encode()
    assert guestxml.parse(raw, "x").nvram == path


def test_another_guests_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "web.xml"
    file.write_text(GOOD)
    assert guestxml.read(str(file), "web").name == "web"
    with pytest.raises(OperationFailed, match=r"describes 'web', not the domain 'we'"):
        guestxml.read(str(file), "we")


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (GOOD.replace("><", ">\n  <"), True),
        ("<?xml version='1.0'?><!-- libvirt's note -->" + GOOD, True),
        (GOOD.replace("<devices/>", "<devices></devices><!-- none -->"), True),
        (GOOD.replace("type='kvm'", 'type="kvm"'), True),
        (GOOD.replace("web", "web2"), False),
        (GOOD.replace("<devices/>", "<devices><disk/></devices>"), False),
        (GOOD.replace("kvm", "qemu"), False),
    ],
)
def test_comparison(other: str, is_same: bool) -> None:
    one, two = guestxml.parse(GOOD.encode(), "1"), guestxml.parse(other.encode(), "2")
    assert guestxml.is_same(one, two) is is_same


def _with_interfaces(*interfaces: str) -> guestxml.Document:
    text = GOOD.replace("<devices/>", f"<devices>{''.join(interfaces)}</devices>")
    return guestxml.parse(text.encode(), "x")


def test_an_interface_without_mac_keeps_the_one_it_has() -> None:
    plain, known = "<interface/>", "<interface><mac address='52:54:00:00:00:01'/></interface>"
    other = known.replace("01", "02")
    old = _with_interfaces(known, other)
    kept = guestxml.with_macs_of(_with_interfaces(plain, other.replace("02", "07")), old)
    assert "52:54:00:00:00:01" in kept
    assert "52:54:00:00:00:07" in kept
    assert "52:54:00:00:00:02" not in kept
    # Which one is gone cannot be told, so none is guessed.
    assert "<mac" not in guestxml.with_macs_of(_with_interfaces(plain), old)


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    file = tmp_path / "web.xml"
    file.write_text("old")
    file.chmod(0o666)
    guestxml.replace_file(str(file), b"new")
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["web.xml"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "web.xml").symlink_to(target)
    guestxml.replace_file(str(tmp_path / "web.xml"), b"new")
    assert target.read_text() == "mine"


@pytest.mark.parametrize("name", ["missing/web.xml", "directory"])
def test_a_failed_replacement_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory" / "in use").mkdir(parents=True)
    with pytest.raises(OperationFailed, match="cannot be written"):
        guestxml.replace_file(str(tmp_path / name), b"new")
    assert os.listdir(tmp_path) == ["directory"]


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "web.xml")
    with pytest.raises(OperationFailed, match="not a regular file"):
        guestxml.read(str(tmp_path / "web.xml"), "web")


def test_variable_stores() -> None:
    assert guestxml.is_variable_store(bytes(40) + b"_FVH" + bytes(99))
    assert guestxml.is_variable_store(b"QFI\xfb" + bytes(99))
    assert not guestxml.is_variable_store(b"")
    assert not guestxml.is_variable_store(b"* * * * * root reboot\n")
