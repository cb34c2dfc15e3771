"""The note that a guest was moved away: whose it is, and what it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmguest.statedir import MigratedMarker, StateDir
from kvmguest.states import Condition, LibvirtSeen, State, judge_libvirt


def test_it_belongs_to_one_resource_and_one_guest(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "state"))
    marker = MigratedMarker(memory, "res", "web")
    assert marker.set("node2")
    assert MigratedMarker(memory, "res", "web").target() == "node2"
    assert MigratedMarker(memory, "res", "web2").target() is None, "GuestName was changed"
    assert MigratedMarker(memory, "res2", "web").target() is None
    marker.clear()
    assert marker.target() is None
    marker.clear()


def test_it_outlives_the_verdict_that_monitor_remembers(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "state"))
    marker = MigratedMarker(memory, "res", "web")
    marker.set("")
    memory.write("res", "100 some verdict")
    memory.forget("res")
    assert marker.target() == ""
    assert (tmp_path / "state" / "res.migrated").exists()


@pytest.mark.parametrize("resource", ["a/b", "..", "x.61", "", "two words", "ü"])
def test_an_odd_resource_name_stays_in_the_directory(tmp_path: Path, resource: str) -> None:
    memory = StateDir(str(tmp_path / "state"))
    marker = MigratedMarker(memory, resource, "web")
    assert marker.set("a\nb")
    assert marker.target() == "a b"
    assert MigratedMarker(memory, f"{resource}.migrated", "web").target() is None
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_what_is_no_note_is_none(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "state"))
    for text in ("", "web", "100 web", "web\n\n\n"):
        memory.write("res.migrated", text)
        assert MigratedMarker(memory, "res", "web").target() is None


def test_it_changes_one_verdict() -> None:
    seen = LibvirtSeen("web", "not defined", "marked as migrated", detail="to node2")
    verdict = judge_libvirt(seen)
    assert verdict.state is State.INTENTIONAL_OFFLINE
    assert verdict.condition is Condition.ABSENT
    assert verdict.sentence == (
        "web: libvirt: not defined (marked as migrated): to node2: INTENTIONAL OFFLINE"
    )
    leftover = judge_libvirt(seen._replace(qemu_pid=1))
    assert leftover.state is State.UNKNOWN, "a process of the guest outweighs the note"
