"""What happens to the pair in a scenario: each a function over the pair and the guest's first node.

Nothing here asks the agent under test, and nothing but the named fault is done.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Callable

from tests.cluster.engine import GUEST, RESOURCE
from tests.cluster.pair import Pair
from tests.lab.host import Host, VirshError
from tests.lab.namespaces import LabError

Fault = Callable[[Pair, str], object]


def _signal_guest(number: signal.Signals) -> Fault:
    def act(pair: Pair, node: str) -> None:
        for pid in pair.observer.pids(node):
            os.kill(pid, number)

    return act


def _on_source(method: str) -> Fault:
    return lambda pair, node: getattr(pair.nodes[node], method)()


def _on_target(method: str) -> Fault:
    return lambda pair, node: getattr(pair.nodes[pair.other(node)], method)()


def _virsh(*words: str) -> Fault:
    return lambda pair, node: pair.nodes[node].virsh(*words)


def _role(role: str) -> Fault:
    meta = ("--meta", "--set-parameter", "target-role", "--parameter-value", role)
    return lambda pair, _node: pair.command("crm_resource", "--resource", RESOURCE, *meta)


def _await_processes(count: int, limit_s: float) -> Fault:
    """Wait until that many nodes have a QEMU of the guest."""

    def act(pair: Pair, _node: str) -> None:
        end = time.monotonic() + limit_s
        while sum(map(bool, pair.observer.processes().values())) != count:
            if time.monotonic() > end:
                raise LabError(f"in {limit_s} s there were never {count} nodes with a QEMU")
            time.sleep(0.1)

    return act


def _start_libvirtd(host: Host) -> None:
    """Unless it runs, or will: the node may have been shot and booted since."""
    if host.is_on and host.run(["pgrep", "-x", "libvirtd"]).returncode != 0:
        host.start_libvirtd()


def _save(pair: Pair, node: str) -> None:
    """As an administrator would; a transient guest can only be saved to a file he names."""
    try:
        pair.nodes[node].virsh("managedsave", GUEST)
    except VirshError:
        pair.nodes[node].virsh("save", GUEST, "/var/tmp/vm.save")


def _migrate_by_hand(pair: Pair, node: str) -> None:
    target = f"qemu+tcp://{pair.other(node)}/system"
    pair.nodes[node].virsh("migrate", "--live", "--unsafe", GUEST, target)


def _move_to(pair: Pair, node: str) -> None:
    pair.command("crm_resource", "--move", "-r", RESOURCE, "-N", node)


def _await_moved(pair: Pair, node: str) -> None:
    """Wait until the guest is on the other node only."""
    end = time.monotonic() + 60
    while not pair.observer.pids(pair.other(node)) or pair.observer.pids(node):
        if time.monotonic() > end:
            raise LabError("in 60 s it did not move")
        time.sleep(0.2)


def _settle(pair: Pair, _node: str) -> None:
    if complaint := pair.settle(60, calm_s=2):
        raise LabError(complaint)


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "kill guest": _signal_guest(signal.SIGKILL),
        "freeze guest": _signal_guest(signal.SIGSTOP),
        "thaw guest": _signal_guest(signal.SIGCONT),
        "kill libvirtd": _on_source("kill_libvirtd"),
        "start libvirtd": lambda pair, node: _start_libvirtd(pair.nodes[node]),
        "freeze libvirtd": _on_source("freeze_libvirtd"),
        "thaw libvirtd": _on_source("thaw_libvirtd"),
        "kill target's libvirtd": _on_target("kill_libvirtd"),
        "start target's libvirtd": lambda pair, node: _start_libvirtd(pair.nodes[pair.other(node)]),
        "suspend": _virsh("suspend", GUEST),
        "save": _save,
        "migrate by hand": _migrate_by_hand,
        "make migrations slow": _virsh("migrate-setspeed", GUEST, "4"),
        "move": lambda pair, node: _move_to(pair, pair.other(node)),
        "move back": _move_to,
        "await moved": _await_moved,
        "await order": _settle,
        "await both": _await_processes(2, 30),
        "stop": _role("Stopped"),
        "await gone": _await_processes(0, 60),
        "start": _role("Started"),
        "pull plug": lambda pair, node: pair.switch.press("off", node),
        "pull target's plug": lambda pair, node: pair.switch.press("off", pair.other(node)),
        "cut network": lambda pair, _node: pair.cut_network(),
        "mend network": lambda pair, _node: pair.mend_network(),
        "freeze corosync": lambda pair, node: pair.nodes[node].run(
            ["pkill", "-STOP", "-x", "corosync"]
        ),
        "storage read-only": lambda pair, node: pair.make_storage_read_only(node),
        "nothing": lambda _pair, _node: None,
    }
)
"""Faults by the name they have in scenarios and timelines."""
