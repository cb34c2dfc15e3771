"""The question to other nodes before a start, over libvirt's test driver: its guest "test" runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
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


def ask(guest: str, systems: list[str], uri: str = "test:///default") -> list[str]:
    log = Warnings()
    elsewhere.refuse_if_running(guest, systems, Options(libvirt_migrate_uri=uri), call, log)
    return log.texts


def test_a_guest_that_runs_on_another_node_is_not_started() -> None:
    with pytest.raises(errors.RunsElsewhere, match=r"sys2 says running"):
        ask(RUNNING, ["sys2"])


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


def doubts(uri: str) -> tuple[elsewhere.Elsewhere, Warnings]:
    log = Warnings()
    options = Options(libvirt_migrate_uri=uri, hosts={"sys2": "sys2"})
    return elsewhere.Elsewhere("kept", options, call, log, {"VCS_HOME": "/nonexistent"}), log


@pytest.mark.parametrize("kind", ["paused", "saved"])
def test_where_the_disk_does_not_tell_the_other_nodes_may(
    kept: libvirt.virDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    record = tmp_path / "kept.xml"
    record.write_text("")
    monkeypatch.setattr(elsewhere, "LIBVIRT_STATUS", str(tmp_path))
    monkeypatch.setattr(saved_memory, "IMAGE", str(record))

    def look(uri: str) -> list[str]:
        found, log = doubts(uri)
        if kind == "paused":
            found.refuse_to_go_on(kept)
        else:
            assert not found.is_saved_memory_stale(kept)
        return log.texts

    (warning,) = look("test:///default")  # the same guest, as paused as it is here
    assert "cannot be seen whether /dev/null was written to by another host since" in warning
    other = tmp_path / "other-node"
    other.write_text(f"<node>{DOCUMENT}</node>")
    with pytest.raises(errors.RunsElsewhere, match="sys2 says running"):
        look(f"test://{other}")
