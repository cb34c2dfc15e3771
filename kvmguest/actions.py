"""What ``hares -action`` and bin/action can ask for: guestmigrated, vmconfigsync, DevScan.

Each action takes an Order and gives an Outcome: done or not, and one line for the one who asked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Callable, NamedTuple

from kvmguest.arglist import GuestConfig
from kvmguest.backend import Backend
from kvmguest.deadline import Deadline
from kvmguest.errors import BackendError
from kvmguest.statedir import MigratedMarker
from kvmguest.states import GONE, Condition, State

SETTLE_S = 0.5
"""Disks are probed in the background: a scan has settled when this long nothing new came."""
_SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


class Order(NamedTuple):
    """What an action works with; ``backend`` makes the backend, which not every action needs."""

    config: GuestConfig
    arguments: tuple[str, ...]
    marker: MigratedMarker
    deadline: Deadline
    backend: Callable[[], Backend]


class Outcome(NamedTuple):
    """The answer to an order."""

    is_done: bool
    line: str


def guestmigrated(order: Order) -> Outcome:
    """Note that the guest was moved away on purpose, [to where]; ``clear`` drops the note.

    With the note monitor calls a guest that libvirt does not know INTENTIONAL OFFLINE. It is
    refused wherever it would be a lie, or would not last: monitor drops it when the guest is back.
    """
    guest = order.config.guest
    if order.config.rhevm_info.is_enabled:
        return Outcome(True, f"{guest}: RHEV-M itself knows where it runs, nothing to note")
    if order.arguments[:1] == ("clear",):
        order.marker.clear()
        return Outcome(True, f"{guest} is no longer marked as migrated on this node")
    known = order.marker.target()
    seen = order.backend().look()
    if seen.condition not in GONE:
        return Outcome(False, f"not marked as migrated: {seen.sentence}")
    if seen.condition is not Condition.ABSENT:
        is_known = seen.state is State.INTENTIONAL_OFFLINE
        why = "no mark is needed" if is_known else "only a guest that is not defined here is marked"
        return Outcome(is_known, f"{seen.sentence}; {why}")
    target = order.arguments[0] if order.arguments else known or ""
    if not order.marker.set(target):
        return Outcome(False, f"{guest}: the mark cannot be kept: see [vcs] state_dir")
    where = f"to {target}" if target else "where to is not known"
    return Outcome(True, f"{guest} is marked as migrated away from this node, {where}")


def vmconfigsync(order: Order) -> Outcome:
    """Write the guest's configuration to SyncDir; with ``redefine`` take it from there instead."""
    guest, sync_dir = order.config.guest, order.config.sync_dir
    if order.config.rhevm_info.is_enabled:
        return Outcome(True, f"{guest}: RHEV-M keeps its configuration, nothing to synchronise")
    backend = order.backend()
    try:
        if order.arguments[:1] == ("redefine",):
            done = backend.redefine()
            return Outcome(True, f"{guest}: {done or 'the definition is up to date'} on this node")
        if not sync_dir:
            return Outcome(False, f"{guest}: SyncDir is not set")
        seen = backend.look()
        if seen.condition is Condition.MIGRATED:
            return Outcome(False, f"not saved: {seen.sentence}; ask the node where it is now")
        return Outcome(True, f"{guest}: {backend.save_configuration() or 'SyncDir is up to date'}")
    except BackendError as error:
        return Outcome(False, f"{guest}: not synchronised: {error}")


def dev_scan(order: Order, *, sysfs: str = "/sys", path: str = _SYSTEM_PATH) -> Outcome:
    """Let the kernel look for new disks on every SCSI host, and multipath for new paths to them."""
    before = _block_devices(sysfs)
    hosts, complaints = _scan_hosts(sysfs, order.deadline)
    parts = [f"SCSI hosts scanned: {hosts}" if hosts else "no SCSI host here"]
    multipath = shutil.which("multipath", path=path)
    if multipath is None:
        parts.append("multipath is not installed")
    elif complaint := _run_briefly([multipath, "-r"], order.deadline):
        complaints.append(complaint)
    else:
        parts.append("multipath maps reloaded")
    new = " ".join(sorted(_settled_devices(sysfs, order.deadline) - before))
    parts += [f"new: {new}" if new else "nothing new", *complaints]
    return Outcome(not complaints, "; ".join(parts))


def _block_devices(sysfs: str) -> set[str]:
    try:
        return set(os.listdir(os.path.join(sysfs, "block")))
    except OSError:
        return set()


def _settled_devices(sysfs: str, deadline: Deadline) -> set[str]:
    seen: set[str] = set()
    now = _block_devices(sysfs)
    while seen != now and deadline.remaining() > 0:
        seen = now
        deadline.sleep(SETTLE_S)
        now = _block_devices(sysfs)
    return now


def _scan_hosts(sysfs: str, deadline: Deadline) -> tuple[int, list[str]]:
    """Scan all hosts at once: one whose fabric hangs must not keep the others waiting."""
    directory = os.path.join(sysfs, "class", "scsi_host")
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    complaints: list[str] = []

    def scan(name: str) -> None:
        try:
            with open(os.path.join(directory, name, "scan"), "w", encoding="ascii") as file:
                file.write("- - -\n")  # every channel, target and LUN
        except OSError as error:
            complaints.append(f"{name}: {error.strerror}")

    threads = [
        threading.Thread(target=scan, args=(name,), name=name, daemon=True) for name in names
    ]
    for thread in threads:
        thread.start()
    limit = Deadline(deadline.remaining())  # its reserve is left for multipath
    for thread in threads:
        thread.join(limit.remaining())
        if thread.is_alive():
            complaints.append(f"{thread.name}: no answer")
    return len(names), complaints


def _run_briefly(command: list[str], deadline: Deadline) -> str:
    """Run a command within the deadline; what went wrong, "" when nothing did."""
    name = " ".join([os.path.basename(command[0]), *command[1:]])
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=deadline.remaining(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{name}: no answer"
    except OSError as error:
        return f"{name}: {error.strerror}"
    return f"{name}: exit code {done.returncode}" if done.returncode else ""


ACTIONS: Mapping[str, Callable[[Order], Outcome]] = MappingProxyType(
    {"guestmigrated": guestmigrated, "vmconfigsync": vmconfigsync, "DevScan": dev_scan}
)
"""The tokens are those of the type's SupportedActions."""
