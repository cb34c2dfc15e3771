"""Where a VM may run: the engine's scheduler, as far as its refusals are seen by an agent."""

from __future__ import annotations

from collections.abc import Sequence

from tests.doubles.manager.model import GONE, Host, Vm
from tests.doubles.manager.refusal import CONFLICT, Refused
from tests.doubles.manager.world import World


def place(world: World, vm: Vm, only: Sequence[Host | None], what: str, *, must: bool) -> Host:
    """The host the engine takes.

    Args:
        world: with its hosts.
        vm: to be placed.
        only: the white list; empty means the whole cluster. None in it is an id nobody has.
        what: "run" or "migrate".
        must: the white list came with the request, so no other host is tried.

    Raises:
        Refused: 409 with the reason per host where the release gives them.
    """
    candidates = [h for h in world.usable_hosts(vm.cluster) if h is not vm.host]
    if only or must:
        candidates = [host for host in candidates if host in only]
    reasons: list[str] = []
    for host in candidates:
        reason = _objection(world, vm, host)
        if reason is None:
            return host
        reasons.append(f"The host {host.name} did not satisfy internal filter {reason}")
    if not world.profile.explains_scheduling:
        raise Refused(
            CONFLICT,
            f"Cannot {what} VM. There are no available running Hosts in the Host Cluster.",
        )
    headline = (
        f"Cannot {what} VM. There is no host that satisfies current scheduling constraints. "
        "See below for details:"
    )
    raise Refused(CONFLICT, headline, *reasons)


def _objection(world: World, vm: Vm, host: Host) -> str | None:
    if host.free_memory_mib < vm.memory_mib:
        return (
            f"Memory because its available memory is too low ({host.free_memory_mib:.6f} MB) "
            "to run the VM."
        )
    for group in world.groups.values():
        if not group.enforcing or vm not in group.vms:
            continue
        others = {other.host for other in group.vms if other is not vm and other.status not in GONE}
        if group.positive and others and others != {host}:
            return "VmAffinityGroups because it did not match positive affinity rules."
        if not group.positive and host in others:
            return "VmAffinityGroups because it did not match negative affinity rules."
    return None
