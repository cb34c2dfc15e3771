"""A live migration by RHEV-M: check, ask, watch, and call it off before the deadline.

RHEV-M's 200 only means that the source host took the order. Where the VM is afterwards is read from
the VM itself: ``up`` on the target, or it did not move.
"""

from __future__ import annotations

from kvmguest.arglist import GuestConfig
from kvmguest.deadline import Deadline
from kvmguest.errors import BackendError, OperationFailed, Silent, Unreachable, WrongState
from kvmguest.log import Log
from kvmguest.options import Options
from kvmguest.rhev import identity, wire
from kvmguest.rhev.inventory import Inventory
from kvmguest.rhev.session import Session
from kvmguest.rhev.wire import Host, Vm

LOOK_EVERY_S = 1.0
TAKEN_WITHIN_S = 20.0
"""An accepted migration shows up as ``migrating`` with the host's next report, 15 s at most."""
_PASSING = frozenset({"migrating", "not_responding", "unknown", "reboot_in_progress"})
"""What says nothing about the end: a QEMU that copies memory may be mute to its host for a while,
and a host to RHEV-M; a guest may reboot meanwhile."""
CANCEL_RESERVE_S = 15.0
"""Left at the end for calling it off and seeing where the guest is, or a third of a short limit."""


class Move:
    """One migration of one VM, away from this host."""

    def __init__(
        self,
        config: GuestConfig,
        options: Options,
        session: Session,
        inventory: Inventory,
        deadline: Deadline,
        log: Log,
    ) -> None:
        self._guest = config.guest
        self._is_for_dr = config.dr_opts.get("ConfigureNetwork") == "1"
        self._options = options
        self._session = session
        self._inventory = inventory
        self._deadline = deadline
        self._log = log

    def to(self, system: str, vm: Vm, me: Host) -> bool:
        """Move it to a VCS system; True when it is up there.

        Raises:
            WrongState: it cannot or may not be migrated now.
            OperationFailed: no such target, or it did not arrive in time.
        """
        if vm.status != "up":
            raise WrongState(f"it is {vm.status}, and only a guest that is up is migrated")
        if vm.affinity == "pinned":
            raise WrongState("it is pinned to its host in RHEV-M: change its migration options")
        target = self._target(system, vm, me)
        parts = {"host": wire.host_reference(target.id)}
        order = (
            wire.action(force="true", **parts)  # may be moved by hand, and this is by hand
            if vm.affinity == "user_migratable"
            else wire.action(**parts)
        )
        taken_within_s = TAKEN_WITHIN_S
        try:
            self._session.post(f"/vms/{vm.id}/migrate", order)
            self._log.info(f"{self._guest}: RHEV-M migrates it from {me.name} to {target.name}")
        except (Silent, Unreachable) as error:
            # It may begin at any time, and must not go on behind VCS's back.
            self._log.warning(f"{self._guest}: no answer to the migration's order: {error}")
            taken_within_s = self._deadline.remaining()
        return self._watch(vm, me, target, taken_within_s)

    def _target(self, system: str, vm: Vm, me: Host) -> Host:
        """The host in RHEV-M that is this VCS system.

        Raises:
            OperationFailed: none, several, this one, not up, or in another cluster.
        """
        hosts = self._inventory.cluster_hosts()
        wanted = self._options.hosts.get(system, system)
        exact = [host for host in hosts if wanted in {host.name, host.address}]
        fits = exact or [
            host
            for host in hosts
            if identity.same_name(wanted, host.name) or identity.same_name(wanted, host.address)
        ]
        if len(fits) != 1:
            names = ", ".join(sorted(host.name for host in hosts)[:8])
            other = " (a guest for disaster recovery never leaves its site)" * self._is_for_dr
            raise OperationFailed(
                f"{wanted} is {'no' if not fits else 'more than one'} host of this guest's cluster"
                f" with the hosts {names}{other}; map {system} in [hosts] of kvmguest.conf"
            )
        target = fits[0]
        if target.id == me.id:
            raise OperationFailed(f"it runs on {target.name} already")
        if target.cluster_id != vm.cluster_id or me.cluster_id != vm.cluster_id:
            raise OperationFailed(f"{target.name} is in another cluster than the guest")
        if target.status != "up":
            raise OperationFailed(f"{target.name} is {target.status} in RHEV-M, not up")
        return target

    def _watch(self, vm: Vm, me: Host, target: Host, taken_within_s: float) -> bool:
        names = {me.id: me.name, target.id: target.name}
        reserve_s = min(CANCEL_RESERVE_S, self._deadline.limit_s / 6)
        begin_s = self._deadline.remaining()
        told = ""
        has_moved = False
        while self._deadline.remaining() > reserve_s:
            self._deadline.sleep(LOOK_EVERY_S)
            now = self._look()
            if now is None:
                continue
            past_s = begin_s - self._deadline.remaining()
            progress = f"{now.status} on {names.get(now.host_id, now.host_id or 'no host')}"
            if progress != told:
                self._log.info(f"{self._guest}: {progress} after {past_s:.0f} s")
                told = progress
            if now.status == "up" and now.host_id == target.id:
                return True
            has_moved = has_moved or now.status == "migrating"
            if now.status not in _PASSING | {"up", "paused"} or (
                now.status == "up" and (has_moved or past_s > taken_within_s)
            ):
                raise OperationFailed(
                    f"RHEV-M ended the migration, the guest is {progress}; see its events there"
                )
        return self._call_off(vm, target, reserve_s)

    def _call_off(self, vm: Vm, target: Host, reserve_s: float) -> bool:
        self._log.warning(
            f"{self._guest}: still migrating {reserve_s:.0f} s before the limit: calling it off"
        )
        try:
            self._session.post(f"/vms/{vm.id}/cancelmigration", wire.action())
        except BackendError as error:
            self._log.warning(f"{self._guest}: RHEV-M does not call it off: {error}")
        now = self._look()
        while now is None or now.status in _PASSING:
            if self._deadline.remaining() < LOOK_EVERY_S:
                break
            self._deadline.sleep(LOOK_EVERY_S)
            now = self._look()
        if now and now.status == "up" and now.host_id == target.id:
            return True
        state = f"is {now.status} now" if now else "cannot be seen"
        raise OperationFailed(f"it took too long and was called off; the guest {state}")

    def _look(self) -> Vm | None:
        try:
            return self._inventory.vm()
        except BackendError as error:
            self._log.warning(f"{self._guest}: cannot be seen while it migrates: {error}")
            return None
