"""The question to other nodes before a start, over libvirt's test driver: its guest "test" runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, TypeVar

import libvirt
import pytest

from kvmguest import elsewhere, errors, saved_memory
from kvmguest.log import Log
from kvmguest.options import Options

T = TypeVar("T")
RUNNING, ABSENT = "test", "absent"


class Warnings(Log):
    """A log whose warnings are kept."""

    def __init__(self) -> None:
        super().__init__("res", "online", {"VCS_HOME": "/nonexistent"}, "/x/online")
        self.texts: list[str] = []

    def warning(self, text: str) -> None:
        self.texts.append(text)


def call(command: str, function: Callable[[], T], limit_s: float = 0) -> T:
    """Virsh._call without a limit, and with the only error that counts here."""
    del command, limit_s
    try:
        return function()
    except libvirt.libvirtError as error:
        is_absent = error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN
        raise (errors.GuestNotFound if is_absent else errors.Unreachable)(str(error)) from error


def make(
    guest: str, systems: Sequence[str], uri: str = "test:///default"
) -> tuple[elsewhere.Elsewhere, list[str]]:
    """What is to be tested, and the warnings it will log."""
    log = Warnings()
    options = Options(libvirt_migrate_uri=uri, hosts={name: name for name in systems})
    made = elsewhere.Elsewhere(guest, options, call, log, {"VCS_HOME": "/nonexistent"})
    return made, log.texts


def ask(guest: str, systems: Sequence[str], uri: str = "test:///default") -> list[str]:
    """Warnings of the question that is asked before a guest starts that is noted to have left."""
    made, warnings = make(guest, systems, uri)
    made.refuse_if_it_left(None, "")
    return warnings


def test_a_guest_that_runs_on_another_node_is_not_started() -> None:
    with pytest.raises(errors.RunsElsewhere, match=r"sys2 says running"):
        ask(RUNNING, ["sys2"])


def test_the_system_that_it_is_noted_to_have_gone_to_is_asked() -> None:
    made, _ = make(RUNNING, [])
    made.refuse_if_it_left(None, None)
    with pytest.raises(errors.RunsElsewhere, match=r"sys3 says running"):
        made.refuse_if_it_left(None, "sys3")


def test_a_guest_that_runs_nowhere_is() -> None:
    assert ask(ABSENT, ["sys1", "sys2"]) == []
    assert ask(ABSENT, []) == []


@pytest.mark.parametrize("uri", ["none://{target}/", "qemu+tcp://127.0.0.1:1/system"])
def test_a_node_that_does_not_answer_is_named_and_keeps_nothing_down(uri: str) -> None:
    (warning,) = ask(RUNNING, ["sys2"], uri)
    assert warning.startswith("test: whether it runs on sys2 cannot be seen: ")


def test_a_name_that_no_host_can_have_keeps_nothing_down() -> None:
    (warning,) = ask(RUNNING, ["no host/"])
    assert "see [hosts]" in warning


def test_all_nodes_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the others: one after the other they would wait for ever."""
    barrier = threading.Barrier(3, timeout=10)

    def connect(_uri: str) -> libvirt.virConnect:
        barrier.wait()
        return libvirt.open("test:///default")

    monkeypatch.setattr(libvirt, "openReadOnly", connect)
    assert ask(ABSENT, ["sys1", "sys2", "sys3"]) == []


def test_a_node_that_hangs_does_not_hide_another_that_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end = threading.Event()

    def connect(uri: str) -> libvirt.virConnect:
        if "sys1" in uri:
            end.wait(10)
            raise libvirt.libvirtError("hangs")
        return libvirt.open("test:///default")

    monkeypatch.setattr(libvirt, "openReadOnly", connect)
    monkeypatch.setattr(elsewhere, "CONNECT_LIMIT_S", 0.2)
    monkeypatch.setattr(elsewhere, "ASK_LIMIT_S", 0.1)
    started = time.monotonic()
    with pytest.raises(errors.RunsElsewhere, match="sys2"):
        ask(RUNNING, ["sys1", "sys2"], "test://{target}/default")
    assert time.monotonic() - started < 5
    end.set()


DOCUMENT = """<domain type='test'><name>kept</name><memory>1024</memory><os><type>hvm</type></os>
<devices><disk type='block'><source dev='/dev/null'/><target dev='vda'/></disk></devices></domain>
"""


@pytest.fixture
def kept() -> Iterator[libvirt.virDomain]:
    """A paused guest whose disk does not tell who wrote to it."""
    connection = libvirt.open("test:///default")
    made = connection.defineXML(DOCUMENT)
    made.create()
    made.suspend()
    yield made
    made.destroy()
    made.undefine()


@pytest.mark.parametrize("kind", ["paused", "saved"])
def test_where_the_disk_does_not_tell_the_other_nodes_may(
    kept: libvirt.virDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    record = tmp_path / "kept.xml"
    record.write_text("")
    monkeypatch.setattr(elsewhere, "LIBVIRT_STATUS", str(tmp_path))
    monkeypatch.setattr(saved_memory, "IMAGE", str(record))

    def look(uri: str) -> list[str]:
        made, warnings = make("kept", ["sys2"], uri)
        if kind == "paused":
            made.refuse_to_go_on(kept)
        else:
            assert not made.is_saved_memory_stale(kept)
        return warnings

    nowhere = tmp_path / "empty-node"
    nowhere.write_text("<node/>")
    (warning,) = look(f"test://{nowhere}")
    assert "cannot be seen whether /dev/null was written to by another host since" in warning
    if kind == "paused":
        assert look("test:///default") == [warning]  # this node itself is among those asked
    else:
        with pytest.raises(errors.RunsElsewhere, match="sys2 says paused"):
            look("test:///default")
    other = tmp_path / "other-node"
    other.write_text(f"<node>{DOCUMENT}</node>")
    with pytest.raises(errors.RunsElsewhere, match="sys2 says running"):
        look(f"test://{other}")


def test_a_guest_that_is_paused_where_it_went_is_not_started_here(
    kept: libvirt.virDomain,
) -> None:
    """It has writes to do yet when its disk comes back."""
    assert kept.isActive()
    with pytest.raises(errors.RunsElsewhere, match="sys2 says paused"):
        ask("kept", ["sys2"])
