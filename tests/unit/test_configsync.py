"""SyncDir and the guest's definition, against a libvirt that behaves and misbehaves."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from kvmguest import arglist, configsync, guestxml
from kvmguest.configsync import ConfigSync
from kvmguest.deadline import Deadline
from kvmguest.errors import BackendError, OperationFailed, Silent
from kvmguest.log import Log

UUID = "7b0b9365-cf3e-4d2f-931b-f9c42c173a10"
VARIABLES = bytes(40) + b"_FVH" + bytes(500)


def document(name: str = "web", *, memory: int = 1, uuid: str = UUID, os_: str = "") -> str:
    identity = f"<name>{name}</name>" + (f"<uuid>{uuid}</uuid>" if uuid else "")
    return f"<domain type='kvm'>{identity}<memory>{memory}</memory><os>{os_}</os></domain>"


class FakeLibvirt:
    """Keeps one definition; adds a default to each document, as the real one does.

    It refuses what ``refused`` is found in, and forgets itself over what ``garbled`` is found in:
    the definition is then neither the old nor the new one.
    """

    def __init__(self, definition: str = "", *, refused: str = "\0", garbled: str = "\0") -> None:
        self.definition = definition
        self.refused, self.garbled = refused, garbled

    def dump(self) -> str:
        if not self.definition:
            raise OperationFailed("no such domain")
        return self.definition

    def define(self, text: str) -> None:
        text = re.sub(r"<clock/>", "", text).replace("</domain>", "<clock/></domain>")
        if self.refused in text:
            raise OperationFailed("XML error: no")
        if self.garbled in text:
            self.definition = document("somebody")
            raise Silent("no answer")
        self.definition = text


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(Log, "_write", lambda _self, sev, text: lines.append(f"{sev} {text}"))
    return lines


@pytest.fixture
def sync_dir(tmp_path: Path) -> Path:
    path = tmp_path / "sync"
    path.mkdir()
    return path


def make(
    libvirt: FakeLibvirt, sync_dir: Path | str, *, guest: str = "web", file: str = ""
) -> ConfigSync:
    words = ["GuestName", "1", guest, "SyncDir", "1", str(sync_dir)]
    config = arglist.parse("res", [*words, "GuestConfigFilePath", "1", file])
    assert not config.complaints
    return ConfigSync(config, Deadline(60), Log("res", "offline", {}, "/bin/offline"), libvirt)


# save


def test_a_copy_is_written_once(said: list[str], sync_dir: Path) -> None:
    sync = make(FakeLibvirt(document()), sync_dir)
    assert sync.save() == f"saved {sync_dir}/web.xml"
    before = (sync_dir / "web.xml").stat()
    assert before.st_mode & 0o777 == 0o600
    assert sync.save() == ""
    assert (sync_dir / "web.xml").stat().st_ino == before.st_ino
    assert os.listdir(sync_dir) == ["web.xml"]
    assert said == []


def test_the_previous_copy_is_kept(said: list[str], sync_dir: Path) -> None:
    for memory in (1, 2, 3):
        assert make(FakeLibvirt(document(memory=memory)), sync_dir).save()
    assert "<memory>3<" in (sync_dir / "web.xml").read_text()
    assert "<memory>2<" in (sync_dir / "web.xml.previous").read_text()
    assert (sync_dir / "web.xml.previous").stat().st_mode & 0o777 == 0o600
    assert said == []


@pytest.mark.parametrize(
    "bad", ["", "<domain>", document("other"), "<network/>", document(uuid="")]
)
def test_a_bad_definition_never_replaces_a_good_copy(
    said: list[str], sync_dir: Path, bad: str
) -> None:
    make(FakeLibvirt(document()), sync_dir).save()
    good = (sync_dir / "web.xml").read_bytes()
    with pytest.raises(BackendError):
        make(FakeLibvirt(bad), sync_dir).save()
    assert (sync_dir / "web.xml").read_bytes() == good
    assert os.listdir(sync_dir) == ["web.xml"]
    assert said == []


def test_a_copy_of_a_guest_with_another_uuid_is_left_alone(said: list[str], sync_dir: Path) -> None:
    (sync_dir / "web.xml").write_text(document(uuid=UUID.replace("7", "8")))
    before = (sync_dir / "web.xml").read_bytes()
    with pytest.raises(OperationFailed, match="remove the file if the guest was made anew"):
        make(FakeLibvirt(document()), sync_dir).save()
    assert (sync_dir / "web.xml").read_bytes() == before
    assert said == []


def test_half_a_copy_is_replaced_and_does_not_become_the_previous_one(
    said: list[str], sync_dir: Path
) -> None:
    (sync_dir / "web.xml").write_text(document()[:50])
    (sync_dir / "web.xml.previous").write_text(document(memory=7))
    assert make(FakeLibvirt(document()), sync_dir).save()
    assert guestxml.read(str(sync_dir / "web.xml"), "web").uuid == UUID.replace("-", "")
    assert "<memory>7<" in (sync_dir / "web.xml.previous").read_text()
    assert len(said) == 1
    assert "is no XML document" in said[0]


@pytest.mark.parametrize(
    "guest", [".", "..", ".hidden", "two words", "-rf", "a.xml", "*", "ü $(x)"]
)
def test_an_awkward_name_stays_in_its_directory(
    said: list[str], sync_dir: Path, guest: str
) -> None:
    libvirt = FakeLibvirt(document(guest))
    make(libvirt, sync_dir, guest=guest).save()
    assert os.listdir(sync_dir) == [f"{guest}.xml"]
    assert os.listdir(sync_dir.parent) == ["sync"]
    fresh = FakeLibvirt()
    make(fresh, sync_dir, guest=guest).define()
    assert f"<name>{guest}</name>" in fresh.definition
    assert said == [f"I {guest}: defined from {sync_dir}/{guest}.xml"]


def test_no_sync_dir_is_nothing_to_do() -> None:
    assert make(FakeLibvirt(), "").save() == ""


def test_a_sync_dir_that_is_not_there(sync_dir: Path) -> None:
    with pytest.raises(OperationFailed, match="No such file or directory"):
        make(FakeLibvirt(document()), sync_dir / "missing").save()


def test_a_sync_dir_that_hangs_is_left_behind(
    sync_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thaw = threading.Event()
    monkeypatch.setattr(guestxml, "replace_file", lambda *_args: thaw.wait(20))
    monkeypatch.setattr(configsync, "FILE_LIMIT_S", 0.1)
    with pytest.raises(Silent, match="writing to SyncDir"):
        make(FakeLibvirt(document()), sync_dir).save()
    thaw.set()


# UEFI variables


def test_variables_travel_with_the_document(
    said: list[str], sync_dir: Path, tmp_path: Path
) -> None:
    here = tmp_path / "nvram" / "web_VARS.fd"
    here.parent.mkdir()
    libvirt = FakeLibvirt(document(os_=f"<nvram>{here}</nvram>"))
    make(libvirt, sync_dir).save()
    assert os.listdir(sync_dir) == ["web.xml"], "no variables yet: the guest was never started"

    here.write_bytes(VARIABLES)
    assert make(libvirt, sync_dir).save() == f"saved {sync_dir}/web.nvram"
    assert make(libvirt, sync_dir).save() == ""
    here.write_bytes(VARIABLES + b"1")
    assert make(libvirt, sync_dir).save() == f"saved {sync_dir}/web.nvram"
    assert (sync_dir / "web.nvram.previous").read_bytes() == VARIABLES

    here.unlink()
    make(FakeLibvirt(), sync_dir).define()
    assert here.read_bytes() == VARIABLES + b"1"
    assert said[-1] == f"I web: {here} restored from {sync_dir}/web.nvram"


def saved_with_variables(sync_dir: Path, here: Path, variables: bytes) -> str:
    """Make SyncDir have a guest whose UEFI variables belong to ``here``; its document."""
    text = document(os_=f"<nvram>{here}</nvram>")
    (sync_dir / "web.xml").write_text(text)
    (sync_dir / "web.nvram").write_bytes(variables)
    return text


def test_variables_that_are_there_are_not_touched(
    said: list[str], sync_dir: Path, tmp_path: Path
) -> None:
    here = tmp_path / "web_VARS.fd"
    saved_with_variables(sync_dir, here, VARIABLES)
    here.write_bytes(b"mine")
    make(FakeLibvirt(), sync_dir).define()
    assert here.read_bytes() == b"mine"
    assert len(said) == 1


@pytest.mark.parametrize("bad", [b"", b"* * * * * root reboot\n", bytes(540672)])
def test_what_is_no_variable_store_goes_nowhere(
    said: list[str], sync_dir: Path, tmp_path: Path, bad: bytes
) -> None:
    here = tmp_path / "cron"
    text = saved_with_variables(sync_dir, here, bad)
    make(FakeLibvirt(), sync_dir).define()
    assert not here.exists()
    assert "is no UEFI variable store" in said[-1]

    (sync_dir / "web.nvram").write_bytes(VARIABLES)
    here.write_bytes(bad)
    with pytest.raises(OperationFailed, match="is no UEFI variable store"):
        make(FakeLibvirt(text), sync_dir).save()
    assert (sync_dir / "web.nvram").read_bytes() == VARIABLES


# define


def test_the_copy_in_sync_dir_comes_first(said: list[str], sync_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.xml"
    file.write_text(document(memory=1))
    (sync_dir / "web.xml").write_text(document(memory=2))
    libvirt = FakeLibvirt()
    make(libvirt, sync_dir, file=str(file)).define()
    assert "<memory>2<" in libvirt.definition
    assert said == [f"I web: defined from {sync_dir}/web.xml"]


@pytest.mark.parametrize("bad", [None, "", document()[:50], document("other")])
def test_a_bad_copy_is_no_reason_to_stay_down(
    said: list[str], sync_dir: Path, tmp_path: Path, bad: str | None
) -> None:
    file = tmp_path / "mine.xml"
    file.write_text(document(memory=5))
    if bad is not None:
        (sync_dir / "web.xml").write_text(bad)
    libvirt = FakeLibvirt()
    make(libvirt, sync_dir, file=str(file)).define()
    assert "<memory>5<" in libvirt.definition
    assert said[0].startswith("W ")
    assert said[0].endswith(f"Using {file}")


def test_every_reason_is_in_one_message(sync_dir: Path) -> None:
    with pytest.raises(OperationFailed, match=r"web\.xml cannot be read.*; /x cannot be read"):
        make(FakeLibvirt(), sync_dir, file="/x").define()
    with pytest.raises(OperationFailed, match="define it, or set GuestConfigFilePath or SyncDir"):
        make(FakeLibvirt(), "").define()


def test_a_document_without_uuid_is_warned_of(said: list[str], sync_dir: Path) -> None:
    (sync_dir / "web.xml").write_text(document(uuid=""))
    libvirt = FakeLibvirt()
    with pytest.raises(OperationFailed, match="answered for web"):
        make(libvirt, sync_dir).define()  # the double makes none up
    assert "names no uuid" in said[0]


# redefine


def test_an_equal_document_changes_nothing(said: list[str], sync_dir: Path) -> None:
    (sync_dir / "web.xml").write_text(document().replace("><", ">\n<"))
    libvirt = FakeLibvirt(document())
    assert make(libvirt, sync_dir).redefine() is None
    assert libvirt.definition == document()
    assert said == []


def test_what_libvirt_adds_itself_is_no_difference(said: list[str], sync_dir: Path) -> None:
    libvirt = FakeLibvirt()
    libvirt.define(document())
    (sync_dir / "web.xml").write_text(document())
    assert make(libvirt, sync_dir).redefine() is None
    assert said == []


def test_a_new_document_is_defined_and_can_be_taken_back(said: list[str], sync_dir: Path) -> None:
    libvirt = FakeLibvirt()
    libvirt.define(document())
    (sync_dir / "web.xml").write_text(document(memory=2))
    take_back = make(libvirt, sync_dir).redefine()
    assert "<memory>2<" in libvirt.definition
    assert said == [f"I web: redefined from {sync_dir}/web.xml"]
    assert take_back is not None
    assert take_back() == "the previous definition is restored"
    assert "<memory>1<" in libvirt.definition


def test_a_missing_variable_store_is_restored_even_if_nothing_else_changed(
    said: list[str], sync_dir: Path, tmp_path: Path
) -> None:
    here = tmp_path / "nvram" / "web_VARS.fd"
    text = saved_with_variables(sync_dir, here, VARIABLES)
    assert make(FakeLibvirt(text), sync_dir).redefine() is None
    assert here.read_bytes() == VARIABLES
    assert said == [f"I web: {here} restored from {sync_dir}/web.nvram"]


@pytest.mark.parametrize("later_s", [-60, 60])
def test_a_resync_takes_the_variables_of_the_node_that_wrote_last(
    said: list[str], sync_dir: Path, tmp_path: Path, later_s: int
) -> None:
    """A boot entry that was made on another node must not be lost to this one's older file."""
    here = tmp_path / "web_VARS.fd"
    text = saved_with_variables(sync_dir, here, VARIABLES + b"theirs")
    copy = sync_dir / "web.nvram"
    here.write_bytes(VARIABLES + b"mine")
    os.utime(here, (1_700_000_000, 1_700_000_000))
    os.utime(copy, (1_700_000_000 + later_s, 1_700_000_000 + later_s))
    for _ in range(2):  # the second time they are the same
        assert make(FakeLibvirt(text), sync_dir).redefine() is None
    previous = Path(f"{here}.previous")
    if later_s > 0:
        assert here.read_bytes() == VARIABLES + b"theirs"
        assert previous.read_bytes() == VARIABLES + b"mine"
        assert said == [f"I web: {here} restored from {copy}"]
    else:
        assert here.read_bytes() == VARIABLES + b"mine"
        assert not previous.exists()


@pytest.mark.parametrize("uuid", ["", UUID.replace("7", "8")])
def test_another_uuid_is_another_guest(sync_dir: Path, uuid: str) -> None:
    (sync_dir / "web.xml").write_text(document(memory=2, uuid=uuid))
    libvirt = FakeLibvirt(document())
    with pytest.raises(OperationFailed, match="not redefined"):
        make(libvirt, sync_dir).redefine()
    assert libvirt.definition == document()


def test_a_refused_document_costs_nothing(sync_dir: Path) -> None:
    (sync_dir / "web.xml").write_text(document(memory=2))
    libvirt = FakeLibvirt(document(), refused="<memory>2<")
    with pytest.raises(OperationFailed, match="the definition is as it was"):
        make(libvirt, sync_dir).redefine()
    assert libvirt.definition == document()


def test_a_garbled_definition_is_restored(sync_dir: Path) -> None:
    libvirt = FakeLibvirt()
    libvirt.define(document())
    libvirt.garbled = "<memory>2<"
    (sync_dir / "web.xml").write_text(document(memory=2))
    with pytest.raises(OperationFailed, match="the previous definition is restored"):
        make(libvirt, sync_dir).redefine()
    assert "<name>web</name>" in libvirt.definition
    assert "<memory>1<" in libvirt.definition


def test_a_definition_that_cannot_be_restored_is_told(sync_dir: Path) -> None:
    libvirt = FakeLibvirt(document(), garbled="<memory>2<", refused="<memory>1<")
    (sync_dir / "web.xml").write_text(document(memory=2))
    with pytest.raises(OperationFailed, match="could not be restored: XML error: no; check virsh"):
        make(libvirt, sync_dir).redefine()
