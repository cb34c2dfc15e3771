"""A VM that RHEV-M still gives to another host: wait, fence by hand if that is allowed, or refuse.

When a host dies RHEV-M shows its VMs running for one to three minutes, then as ``unknown``, and
keeps them until the host answers or somebody confirms 'host has been rebooted'. Confirming that for
a host that lives starts the guest twice, so three independent voices must agree: the administrator
(UseManualRHEVMFencing=1), RHEV-M (the host is non_responsive, the VM unknown) and VCS (the system
is FAULTED). The request answers "complete" even when it cleared nothing; only a VM that is seen
``down`` is free.
"""

from __future__ import annotations

from collections.abc import Mapping

from kvmguest import vcs
from kvmguest.arglist import GuestConfig
from kvmguest.deadline import Deadline
from kvmguest.errors import BackendError, OperationFailed, RunsElsewhere
from kvmguest.log import Log
from kvmguest.options import Options
from kvmguest.rhev import identity, wire
from kvmguest.rhev.inventory import Inventory
from kvmguest.rhev.session import Session
from kvmguest.rhev.wire import Host, Vm

LOOK_EVERY_S = 2.0
VCS_LIMIT_S = 5.0
START_RESERVE_S = 10.0
"""Left for the start itself and its log, or a quarter of a short limit."""
_LOST_HOST = frozenset({"non_responsive", "connecting", "reboot", "kdumping"})
"""Statuses of a host that RHEV-M does not reach at the moment."""


class Rescue:
    """The ways to get a VM back from a host that may be dead."""

    def __init__(
        self,
        config: GuestConfig,
        options: Options,
        session: Session,
        inventory: Inventory,
        env: Mapping[str, str],
    ) -> None:
        self._config = config
        self._options = options
        self._session = session
        self._inventory = inventory
        self._env = env

    def free(self, vm: Vm, deadline: Deadline, log: Log) -> Vm:
        """Wait until the VM is down; return it as it is then.

        Raises:
            RunsElsewhere: its host is not known to be dead.
            OperationFailed: the deadline is near, and it is still held, the message says by what;
                or it left that host for a state that nothing is known to end.
        """
        host = self._inventory.host(vm.host_id)
        system = self._system_of(host)
        has_fenced = False
        why = ""
        reserve_s = min(START_RESERVE_S, deadline.limit_s / 8)
        while vm.status != "down":
            if not vm.host_id:
                raise OperationFailed(f"it left {host.name} and is {vm.status or 'lost'} now")
            if vm.host_id != host.id:
                raise RunsElsewhere(f"it left {host.name} and is {vm.status} on another host")
            has_died = self._has_died(system)
            if host.status not in _LOST_HOST and not has_died:
                raise RunsElsewhere(
                    f"it is {vm.status} on {host.name}, which RHEV-M calls {host.status}"
                )
            why = self._objection(vm, host, system, has_died=has_died)
            if not why and not has_fenced:
                self._fence(host, log)
                has_fenced = True
            if deadline.remaining() < reserve_s + LOOK_EVERY_S:
                break
            deadline.sleep(LOOK_EVERY_S)
            vm, host = self._inventory.vm(), self._inventory.host(host.id)
        if vm.status == "down":
            return vm
        after = "fenced by hand without effect" if has_fenced else why
        raise OperationFailed(
            f"it is {vm.status}, held by {host.name}, which RHEV-M calls {host.status}: {after}"
        )

    def _objection(self, vm: Vm, host: Host, system: str, *, has_died: bool) -> str:
        """What speaks against fencing, "" for nothing."""
        if not self._config.rhevm_info.use_manual_fencing:
            return (
                "if that host is dead, confirm 'host has been rebooted' in RHEV-M, or set "
                "RHEVMInfo.UseManualRHEVMFencing to 1"
            )
        if vm.status != "unknown" or host.status != "non_responsive":
            return "RHEV-M has not given the host up yet; online again, or set OnlineRetryLimit"
        if not system:
            return f"no VCS system is known to be {host.name}; map it in [hosts] of kvmguest.conf"
        if not has_died:
            return (
                f"not fenced, since VCS does not call {system} FAULTED; see hasys -state {system}"
            )
        return ""

    def _fence(self, host: Host, log: Log) -> None:
        """Confirm 'host has been rebooted', which sets all its VMs down."""
        log.warning(
            f"{self._config.guest}: its host {host.name} is dead, say RHEV-M (non_responsive) and "
            f"VCS (FAULTED): confirming 'host has been rebooted' in RHEV-M"
        )
        try:
            self._session.post(f"/hosts/{host.id}/fence", wire.action(fence_type="manual"))
        except BackendError as error:
            log.error(f"{self._config.guest}: RHEV-M does not fence {host.name}: {error}")

    def _has_died(self, system: str) -> bool:
        return bool(system) and vcs.has_system_died(system, self._env, VCS_LIMIT_S)

    def _system_of(self, host: Host) -> str:
        """The VCS system that is this host: as [hosts] says, else the one of the same name."""
        mapped = [name for name, there in self._options.hosts.items() if there == host.name]
        if mapped:
            return mapped[0] if len(mapped) == 1 else ""
        names = vcs.systems(self._env, VCS_LIMIT_S)
        free = [name for name in names if name not in self._options.hosts]
        fits = [
            name
            for name in free
            if identity.same_name(name, host.name) or identity.same_name(name, host.address)
        ]
        return fits[0] if len(fits) == 1 else ""
