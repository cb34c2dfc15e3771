"""Which files may be defined under a guest's name; libvirt itself is the judge of the names."""

from __future__ import annotations

from pathlib import Path

import libvirt
import pytest

from kvmguest import guestxml
from kvmguest.errors import OperationFailed

DOMAIN = "<domain type='test'>{name}<memory>1024</memory><os><type>hvm</type></os></domain>"


def write(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "web.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_a_domain_document_is_taken(tmp_path: Path) -> None:
    document = DOMAIN.format(name="<name>web</name>")
    assert guestxml.read(write(tmp_path, document), "web").text == document.replace("'", '"')


@pytest.mark.parametrize(
    "prefix", ["<?xml version='1.0' encoding='ISO-8859-1'?>\n", "<!-- a remark -->\n", "\n\ufeff"]
)
def test_what_may_come_before(tmp_path: Path, prefix: str) -> None:
    document = DOMAIN.format(name="<name>web</name>")
    path = write(tmp_path, prefix.strip() + document)
    assert "<name>web</name>" in guestxml.read(path, "web").text


NAMES = [
    "<name>web</name>",
    "<name> web</name>",
    "<name>web\n</name>",
    "<name>web1</name>",
    "<name>WEB</name>",
    "<name><!-- x -->web</name>",
    "<name>we<!-- x -->b</name>",
    "<name>web<x/>1</name>",
    "<name>web<x>1</x></name>",
    "<name><![CDATA[web]]></name>",
    "<name>web</name><name>db</name>",
    "<name>db</name><name>web</name>",
    "<name>w&#101;b</name>",
    "<os><name>web</name></os><name>db</name>",
    "<name xmlns='urn:x'>web</name><name>db</name>",
    "<title>web</title>",
    "<name/>",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_taken_is_defined_under_that_name_and_no_other(tmp_path: Path, name: str) -> None:
    """A name that we read otherwise than libvirt does would start a guest nobody monitors."""
    try:
        document = guestxml.read(write(tmp_path, DOMAIN.format(name=name)), "web").text
    except OperationFailed:
        return
    connection = libvirt.open("test:///default")
    domain = connection.defineXML(document)
    try:
        assert domain.name() == "web"
    finally:
        domain.undefine()


@pytest.mark.parametrize(
    ("name", "is_taken"), [(NAMES[0], True), (NAMES[1], False), (NAMES[7], False)]
)
def test_the_test_above_sees_both(tmp_path: Path, name: str, is_taken: bool) -> None:
    try:
        guestxml.read(write(tmp_path, DOMAIN.format(name=name)), "web")
        taken = True
    except OperationFailed:
        taken = False
    assert taken is is_taken


LAUGHS = "<!DOCTYPE domain [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {name} '{f'&{of};' * 50}'>" for of, name in zip("abcdef", "bcdefg")
)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("", "no XML document"),
        ("web", "no XML document"),
        ("<domain>", "no XML document"),
        (b"<domain>\xff</domain>", "no XML document"),
        (b"\x00" * 100, "no XML document"),
        ("<network><name>web</name></network>", "describes <network>"),
        ("<domain xmlns='urn:x'><name>web</name></domain>", "describes"),
        ("<a><domain><name>web</name></domain></a>", "describes <a>"),
        ("<!DOCTYPE domain><domain><name>web</name></domain>", "DTD"),
        ("<!DOCTYPE domain SYSTEM 'http://127.0.0.1:1/x'><domain><name>web</name></domain>", "DTD"),
        (LAUGHS + "]><domain><name>web</name><title>&g;</title></domain>", ""),
        (
            "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain><name>&x;</name></domain>",
            "",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, document: str | bytes, complaint: str) -> None:
    path = write(tmp_path, document)
    with pytest.raises(OperationFailed) as caught:
        guestxml.read(path, "web")
    assert path in str(caught.value)
    assert complaint in str(caught.value)
    assert "root:" not in str(caught.value)


def test_a_document_of_unbounded_size(tmp_path: Path) -> None:
    document = DOMAIN.format(name="<name>web</name>" + " " * guestxml.MAX_BYTES)
    with pytest.raises(OperationFailed, match="larger than 4 MiB"):
        guestxml.read(write(tmp_path, document), "web")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match="No such file"):
        guestxml.read(str(tmp_path / "absent"), "web")
    with pytest.raises(OperationFailed, match="Is a directory"):
        guestxml.read(str(tmp_path), "web")
