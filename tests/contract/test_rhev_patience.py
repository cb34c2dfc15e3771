"""Orders whose answer does not come, and statuses that pass: what began is watched to its end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmguest import arglist, options
from kvmguest.backend import Backend
from kvmguest.deadline import Deadline
from kvmguest.errors import OperationFailed
from kvmguest.log import Log
from kvmguest.rhev import transport
from kvmguest.rhev.backend import Rhev
from kvmguest.statedir import StateDir
from tests.doubles.manager import Manager
from tests.doubles.vcs_home import VcsHome


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """RHEV-M, for which a second of silence is too long."""
    monkeypatch.setattr(transport, "READ_LIMIT_S", 1.0)
    with Manager("4.4", hosts=["h1", "h2"], vms=["g1"], scale=10) as running:
        yield running
        assert running.split_brains == []


def backend(tmp_path: Path, m: Manager, limit_s: float = 40, dr_opts: str = "") -> Backend:
    env = {"VCS_HOME": str(tmp_path / "vcs"), "VCS_CONF": "/nonexistent"}
    VcsHome(tmp_path / "vcs", helper=False, halog=False).answer("decrypt", "secret\n")
    info = ["Enabled", "1", "URL", m.root, "User", m.user_name, "Password", "x", "Cluster", "c1"]
    dr = dr_opts.split()
    tuples = ["GuestName", "1", "g1", "RHEVMInfo", "10", *info, "DROpts", str(len(dr)), *dr]
    config = arglist.parse("g1", tuples)
    site = options.Options(
        rhev_ca_file=m.ca_file,
        vcs_decrypt_command=str(tmp_path / "vcs/bin/decrypt"),
        hosts={socket.gethostname(): "h1"},
    )
    log = Log("g1", "online", env, "/opt/VRTSvcs/bin/KVMGuest/online")
    return Rhev(config, site, Deadline(limit_s), log, StateDir(str(tmp_path / "state")), env)


def test_a_start_without_an_answer_is_watched(tmp_path: Path, manager: Manager) -> None:
    """It takes longer than 15 s where LUNs are connected first; it is not ordered again."""
    with manager.fault("hang", path="/start"):  # taken, but not yet seen
        timer = threading.Timer(3.0, lambda: manager.put("g1", "wait_for_launch", "h1"))
        timer.start()
        backend(tmp_path, manager).start()
        timer.join()
    assert manager.vm("g1").status != "down"
    assert manager.commands == ["start g1"]


def test_a_migration_without_an_answer_is_watched(tmp_path: Path, manager: Manager) -> None:
    manager.put("g1", "up", "h1")
    with manager.fault("stuck", path="/migrate"):
        assert backend(tmp_path, manager).migrate("h2")
    assert manager.commands == ["migrate g1"]


def test_a_migration_without_an_answer_is_called_off_in_time(
    tmp_path: Path, manager: Manager
) -> None:
    manager.put("g1", "up", "h1").migrate_s = 10_000
    with (
        manager.fault("stuck", path="/migrate"),
        pytest.raises(OperationFailed, match="took too long and was called off"),
    ):
        backend(tmp_path, manager, 16).migrate("h2")
    assert manager.commands == ["migrate g1", "cancelmigration g1"]
    assert manager.vm("g1").status == "up"


@pytest.mark.parametrize("status", ["not_responding", "unknown", "reboot_in_progress"])
def test_a_status_that_passes_does_not_end_a_migration(
    tmp_path: Path, manager: Manager, status: str
) -> None:
    manager.clock.scale = 0
    manager.put("g1", "up", "h1")
    timers = [
        threading.Timer(2.0, lambda: manager.put("g1", status, "h1")),
        threading.Timer(4.5, lambda: manager.put("g1", "up", "h2")),
    ]
    for timer in timers:
        timer.start()
    assert backend(tmp_path, manager).migrate("h2")
    for timer in timers:
        timer.join()
    assert manager.commands == ["migrate g1"]


def test_a_locked_vm_gets_its_cd_before_it_is_started(tmp_path: Path, manager: Manager) -> None:
    """Unlocked between the look and the order, it would boot with the other site's network."""
    vm = manager.put("g1", "image_locked")
    timer = threading.Timer(1.5, lambda: manager.put("g1", "down"))
    timer.start()
    network = "ConfigureNetwork 1 IPAddress 192.0.2.5 Netmask 255.255.255.0"
    backend(tmp_path, manager, dr_opts=network).start()
    timer.join()
    assert manager.commands == ["update g1", "start g1"]
    assert vm.cd is not None
