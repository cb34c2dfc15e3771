"""Attaching and removing the CD of DROpts over a libvirt that behaves and misbehaves."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kvmguest.dr_iso import NetworkIso, network_iso
from kvmguest.dr_online import NetworkCd
from kvmguest.errors import OperationFailed
from kvmguest.log import Log

DOCUMENT = (
    "<domain type='kvm'><name>web</name><uuid>7d1f53a6-0a5e-4a39-8a44-52c3ab5b2a01</uuid>"
    "<os><type machine='pc'>hvm</type></os>"
    "<devices><disk device='cdrom'><target dev='hda' bus='ide'/></disk></devices></domain>"
)


class FakeLibvirt:
    """Keeps one definition; ``change`` is what it makes of a new one."""

    def __init__(self, old: str = "\0", new: str = "") -> None:
        self.definition = DOCUMENT
        self.change = (old, new)

    def dump(self) -> str:
        return self.definition

    def define(self, text: str) -> None:
        self.definition = re.sub(self.change[0], self.change[1], text)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(Log, "_write", lambda _self, sev, text: lines.append(f"{sev} {text}"))
    return lines


def iso(address: str = "10.20.0.5") -> NetworkIso:
    made = network_iso({"ConfigureNetwork": "1", "IPAddress": address, "Netmask": "24"})
    assert made is not None
    return made


def make(libvirt: FakeLibvirt, state_dir: Path) -> NetworkCd:
    return NetworkCd("web", str(state_dir), Log("res", "online", {}, "/bin/online"), libvirt)


def test_attached_unchanged_replaced_removed(said: list[str], tmp_path: Path) -> None:
    libvirt = FakeLibvirt()
    cd = make(libvirt, tmp_path)
    file = tmp_path / "dr.d/web.iso"
    cd.attach(iso())
    attached = libvirt.definition
    assert f'file="{file}"' in attached
    assert file.read_bytes() == iso().image
    cd.attach(iso())
    cd.attach(iso("10.20.0.6"))
    assert libvirt.definition == attached
    assert file.read_bytes() == iso("10.20.0.6").image
    assert os.listdir(tmp_path / "dr.d") == ["web.iso"]
    cd.detach()
    assert libvirt.definition.count("<disk") == 1
    assert not file.exists()
    cd.detach()
    ends = [re.sub(r".*, | .*: ", "", line) for line in said]
    assert ends[:3] == ["attached", "unchanged", "replaced"]
    assert "its CD is removed" in said[3]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r'<disk type="file".*?</disk>', ""),  # it drops the CD
        (r'file="[^"]*"', 'file="/other"'),
        ("<readonly/>", ""),
        ('"hda"', '"hdb"'),  # it moves the administrator's
        (r'<disk device="cdrom">.*?</disk>', ""),
    ],
)
@pytest.mark.usefixtures("said")
def test_a_definition_that_came_out_otherwise_is_an_error(
    tmp_path: Path, old: str, new: str
) -> None:
    with pytest.raises(OperationFailed, match="what it has now is another"):
        make(FakeLibvirt(old, new), tmp_path).attach(iso())


@pytest.mark.usefixtures("said")
def test_a_cd_that_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    libvirt = FakeLibvirt()
    make(libvirt, tmp_path).attach(iso())
    attached = libvirt.definition
    libvirt.change = ("(?s)^.*$", attached)
    with pytest.raises(OperationFailed, match="what it has now is another"):
        make(libvirt, tmp_path).detach()
    assert (tmp_path / "dr.d/web.iso").exists(), "the definition still wants it"


@pytest.mark.parametrize("kind", ["writable by others", "a file", "no parent"])
@pytest.mark.usefixtures("said")
def test_without_a_safe_place_nothing_is_defined(tmp_path: Path, kind: str) -> None:
    state_dir = tmp_path / "state"
    if kind == "writable by others":
        state_dir.mkdir()
        state_dir.chmod(0o777)
    else:
        state_dir.write_text("")
        state_dir = state_dir / "deeper" if kind == "no parent" else state_dir
    libvirt = FakeLibvirt()
    with pytest.raises(OperationFailed, match=r"the CD of DROpts has no place"):
        make(libvirt, state_dir).attach(iso())
    assert libvirt.definition == DOCUMENT


@pytest.mark.usefixtures("said")
def test_whoever_looks_sees_the_old_image_or_the_new_one(tmp_path: Path) -> None:
    cd = make(FakeLibvirt(), tmp_path)
    cd.attach(iso())
    with (tmp_path / "dr.d/web.iso").open("rb") as opened:
        cd.attach(iso("10.20.0.6"))
        assert opened.read() == iso().image
