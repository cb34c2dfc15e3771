"""The actions, over a guest, a sysfs and a multipath that behave."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from kvmguest import actions, arglist
from kvmguest.actions import Order, Outcome
from kvmguest.backend import Backend
from kvmguest.deadline import Deadline
from kvmguest.errors import OperationFailed, WrongState
from kvmguest.statedir import MigratedMarker, StateDir
from kvmguest.states import LIBVIRT_TABLE, LibvirtSeen, Verdict, judge_libvirt


class FakeBackend:
    """A guest in one of libvirt's states, with a SyncDir that holds one document."""

    def __init__(self, state: str, reason: str = "", *, failure: str = "") -> None:
        self.seen = LibvirtSeen("web", state, reason)
        self.failure = failure
        self.here, self.saved = "old", "new"

    def look(self) -> Verdict:
        return judge_libvirt(self.seen)

    def save_configuration(self) -> str:
        if self.failure:
            raise OperationFailed(self.failure)
        before, self.saved = self.saved, self.here
        return "saved /sync/web.xml" if before != self.here else ""

    def redefine(self) -> str:
        if self.seen.state not in {"shut off", "not defined"}:
            raise WrongState("web is not off")
        before, self.here = self.here, self.saved
        return "redefined" if before != self.saved else ""

    def start(self) -> None: ...
    def resume(self) -> None: ...
    def wake(self) -> None: ...
    def shutdown(self) -> None: ...
    def destroy(self) -> None: ...

    def migrate(self, target: str) -> bool:
        return bool(target)


@pytest.fixture
def marker(tmp_path: Path) -> MigratedMarker:
    return MigratedMarker(StateDir(str(tmp_path / "state")), "res", "web")


def make_order(
    marker: MigratedMarker,
    backend: Backend | None,
    arguments: Sequence[str] = (),
    *,
    words: Sequence[str] = ("SyncDir", "1", "/sync"),
    limit_s: float = 30,
) -> Order:
    config = arglist.parse("res", ["GuestName", "1", "web", *words])

    def give() -> Backend:
        assert backend is not None, "this action needs no backend"
        return backend

    return Order(config, tuple(arguments), marker, Deadline(limit_s), give)


RHEV = ("RHEVMInfo", "2", "Enabled", "1")

# guestmigrated


def test_a_guest_that_is_away_is_marked(marker: MigratedMarker) -> None:
    away = FakeBackend("not defined")
    assert actions.guestmigrated(make_order(marker, away)) == Outcome(
        True, "web is marked as migrated away from this node, where to is not known"
    )
    assert marker.target() == ""
    told = actions.guestmigrated(make_order(marker, away, ["node2"]))
    assert told == Outcome(True, "web is marked as migrated away from this node, to node2")
    asked = actions.guestmigrated(make_order(marker, away))
    assert asked == told, "the target is remembered"
    cleared = actions.guestmigrated(make_order(marker, None, ["clear"]))
    assert cleared == Outcome(True, "web is no longer marked as migrated on this node")
    assert marker.target() is None


@pytest.mark.parametrize(("state", "reason"), sorted(LIBVIRT_TABLE))
def test_no_state_but_absence_is_ever_marked(
    marker: MigratedMarker, state: str, reason: str
) -> None:
    outcome = actions.guestmigrated(make_order(marker, FakeBackend(state, reason), ["node2"]))
    assert (marker.target() is not None) is (state == "not defined")
    is_fine = state == "not defined" or (state == "shut off" and reason in {"migrated", "saved"})
    assert outcome.is_done is is_fine


def test_a_guest_whose_process_is_still_here_is_not_marked(marker: MigratedMarker) -> None:
    backend = FakeBackend("not defined")
    backend.seen = backend.seen._replace(qemu_pid=4711)
    outcome = actions.guestmigrated(make_order(marker, backend))
    assert not outcome.is_done
    assert "4711" in outcome.line
    assert marker.target() is None


def test_a_mark_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    marker = MigratedMarker(StateDir(str(tmp_path / "state")), "res", "web")
    outcome = actions.guestmigrated(make_order(marker, FakeBackend("not defined")))
    assert outcome == Outcome(False, "web: the mark cannot be kept: see [vcs] state_dir")


def test_rhev_m_knows_better(marker: MigratedMarker) -> None:
    for act in (actions.guestmigrated, actions.vmconfigsync):
        outcome = act(make_order(marker, None, words=RHEV))
        assert outcome.is_done
        assert "RHEV-M" in outcome.line
    assert marker.target() is None


# vmconfigsync


def test_saving(marker: MigratedMarker) -> None:
    backend = FakeBackend("running", "booted")
    order = make_order(marker, backend)
    assert actions.vmconfigsync(order) == Outcome(True, "web: saved /sync/web.xml")
    assert actions.vmconfigsync(order) == Outcome(True, "web: SyncDir is up to date")


def test_what_cannot_be_saved_is_told(marker: MigratedMarker) -> None:
    full = FakeBackend("running", "booted", failure="No space left on device")
    assert actions.vmconfigsync(make_order(marker, full)) == Outcome(
        False, "web: not synchronised: No space left on device"
    )
    nowhere = make_order(marker, full, words=())
    assert actions.vmconfigsync(nowhere) == Outcome(False, "web: SyncDir is not set")


def test_a_definition_left_behind_by_a_migration_is_not_saved(marker: MigratedMarker) -> None:
    backend = FakeBackend("shut off", "migrated")
    outcome = actions.vmconfigsync(make_order(marker, backend))
    assert not outcome.is_done
    assert outcome.line.endswith("ask the node where it is now")
    assert backend.saved == "new"


def test_redefining(marker: MigratedMarker) -> None:
    order = make_order(marker, FakeBackend("shut off", "shutdown"), ["redefine"])
    assert actions.vmconfigsync(order) == Outcome(True, "web: redefined on this node")
    assert actions.vmconfigsync(order) == Outcome(
        True, "web: the definition is up to date on this node"
    )
    running = make_order(marker, FakeBackend("running", "booted"), ["redefine"])
    assert not actions.vmconfigsync(running).is_done


# DevScan


class FakeSysfs:
    """A /sys with SCSI hosts; a scan of ``hostN`` brings ``disks`` after a moment."""

    def __init__(self, root: Path, disks: dict[str, tuple[str, ...]]) -> None:
        self.root = root
        (root / "block" / "sda").mkdir(parents=True)
        self.asked: list[str] = []
        for host, names in disks.items():
            scan = root / "class" / "scsi_host" / host / "scan"
            scan.parent.mkdir(parents=True)
            os.mkfifo(scan)
            threading.Thread(target=self._serve, args=(scan, names), daemon=True).start()

    def _serve(self, scan: Path, names: tuple[str, ...]) -> None:
        self.asked.append(scan.read_text())
        for name in names:
            time.sleep(0.1)
            (self.root / "block" / name).mkdir()


def make_multipath(directory: Path, script: str) -> str:
    directory.mkdir()
    command = directory / "multipath"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return str(directory)


def test_new_disks_are_named(marker: MigratedMarker, tmp_path: Path) -> None:
    sysfs = FakeSysfs(tmp_path / "sys", {"host0": (), "host1": ("sdc", "sdb")})
    path = make_multipath(tmp_path / "bin", f'[ "$*" = -r ] && mkdir {tmp_path}/sys/block/dm-0')
    outcome = actions.dev_scan(make_order(marker, None), sysfs=str(sysfs.root), path=path)
    assert outcome == Outcome(
        True, "SCSI hosts scanned: 2; multipath maps reloaded; new: dm-0 sdb sdc"
    )
    assert sysfs.asked == ["- - -\n", "- - -\n"]


def test_a_machine_without_scsi_and_multipath(marker: MigratedMarker, tmp_path: Path) -> None:
    outcome = actions.dev_scan(make_order(marker, None), sysfs=str(tmp_path), path="")
    assert outcome == Outcome(True, "no SCSI host here; multipath is not installed; nothing new")


def test_a_host_that_hangs_does_not_keep_the_others_waiting(
    marker: MigratedMarker, tmp_path: Path
) -> None:
    sysfs = FakeSysfs(tmp_path / "sys", {"host1": ("sdb",)})
    (tmp_path / "sys/class/scsi_host/host0").mkdir()
    os.mkfifo(tmp_path / "sys/class/scsi_host/host0/scan")  # nobody reads: opening it blocks
    start = time.monotonic()
    order = make_order(marker, None, limit_s=6)
    outcome = actions.dev_scan(order, sysfs=str(sysfs.root), path="")
    assert time.monotonic() - start < 3
    assert not outcome.is_done
    assert "new: sdb; host0: no answer" in outcome.line


@pytest.mark.parametrize(
    ("script", "complaint"),
    [("exit 1", "multipath -r: exit code 1"), ("exec sleep 30", "multipath -r: no answer")],
)
def test_a_multipath_that_fails_or_hangs(
    marker: MigratedMarker, tmp_path: Path, script: str, complaint: str
) -> None:
    path = make_multipath(tmp_path / "bin", script)
    order = make_order(marker, None, limit_s=3)
    start = time.monotonic()
    outcome = actions.dev_scan(order, sysfs=str(tmp_path), path=path)
    assert time.monotonic() - start < 3
    assert outcome == Outcome(False, f"no SCSI host here; nothing new; {complaint}")


def test_a_host_that_refuses_is_named(marker: MigratedMarker, tmp_path: Path) -> None:
    (tmp_path / "class/scsi_host/host3/scan").mkdir(parents=True)
    outcome = actions.dev_scan(make_order(marker, None), sysfs=str(tmp_path), path="")
    assert not outcome.is_done
    assert "host3: Is a directory" in outcome.line
