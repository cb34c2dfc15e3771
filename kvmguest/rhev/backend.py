"""The backend for RHEV-M: the same seven verbs as plain KVM, done by requests to the manager.

RHEV-M acts on all its hosts, this agent only on its own: before anything is done to a VM, this node
is identified anew and the VM is looked at, and whatever runs on another host is refused. An action
that was accepted is not yet done; ``lifecycle`` looks again. The traps of the API are named where
they are avoided.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from kvmguest import errors
from kvmguest.arglist import GuestConfig
from kvmguest.deadline import Deadline
from kvmguest.log import Log
from kvmguest.options import Options
from kvmguest.rhev import identity, migration, rescue, wire
from kvmguest.rhev.inventory import Inventory, Where
from kvmguest.rhev.login import Place
from kvmguest.rhev.session import Session
from kvmguest.rhev.wire import Host, Vm
from kvmguest.statedir import StateDir
from kvmguest.states import Verdict, conclude
from kvmguest.states_rhev import DARK, ELSEWHERE, HERE, RhevSeen, judge_rhev

LOOK_EVERY_S = 0.5
"""Polling pauses at least that long: each look is a request with several data base queries."""
RETRY_EVERY_S = 3.0
TOO_LATE_S = 0.2
ACCEPTED_LIMIT_S = 30.0
"""How long an accepted start may leave the VM down: RHEV-M hears of it within 15 s."""
UNANSWERED_LIMIT_S = 180.0
"""How long a start that RHEV-M did not answer may take: its own limit for a host (vdsTimeout)."""
_LAST_LOOK_S = 1.0
_TRY_AGAIN = ("try again", "is being migrated", "locked")
"""In refusals that pass by themselves (3.1 to 4.5): locked disks, another command, a snapshot."""
_STOPPABLE = frozenset(
    {
        "up",
        "powering_up",
        "powering_down",
        "wait_for_launch",
        "reboot_in_progress",
        "paused",
        "not_responding",
    }
)
"""Not migrating: that would end the guest on both hosts, whichever has it by then."""
_STARTABLE = frozenset({"down", "suspended", "image_locked"})
_LOST = frozenset({"unknown", "not_responding"})


class Rhev:
    """One VM of one RHEV-M, seen from this node."""

    def __init__(
        self,
        config: GuestConfig,
        options: Options,
        deadline: Deadline,
        log: Log,
        memory: StateDir,
        env: Mapping[str, str],
        *,
        is_read_only: bool = False,
    ) -> None:
        self._config = config
        self._guest = config.guest
        self._options = options
        self._deadline = deadline
        self._log = log
        self._memory = memory
        self._env = env
        self._is_read_only = is_read_only
        self._inventory_or_none: Inventory | None = None
        self._session_or_none: Session | None = None
        self._last: Verdict | None = None
        self._looked_at = 0.0
        self._has_asked_to_shut_down = False
        self._was_going_down = False
        self._has_gone_back_up = False

    def look(self) -> Verdict:
        """GET /vms/{id}: one request in steady state."""
        pause_s = self._looked_at + LOOK_EVERY_S - time.monotonic()
        if self._last and pause_s > 0:
            self._deadline.sleep(pause_s)
        if self._last and self._deadline.remaining() < TOO_LATE_S:
            return self._last
        try:
            vm, where = self._seen()
            seen = RhevSeen(self._guest, vm.status, vm.detail, *where)
            self._was_going_down = self._was_going_down or vm.status == "powering_down"
            self._has_gone_back_up = self._was_going_down and vm.status == "up"
            self._last = judge_rhev(seen)
        except errors.KvmGuestError as error:
            self._last = conclude(self._guest, f"RHEV-M: {error}", DARK)
        self._looked_at = time.monotonic()
        return self._last

    def start(self) -> None:
        """POST start, with this host in placement_policy, so that no other is tried.

        Raises:
            RunsElsewhere: another host has it, and is not known to be dead.
        """
        vm, where = self._seen()
        if where.place == ELSEWHERE:
            vm = self._free_from(vm)
        if vm.status not in _STARTABLE:
            raise errors.WrongState(f"it is {vm.status or 'without a status'} now")
        me = self._this_host()
        if vm.is_highly_available:
            self._log.warning(
                f"{self._guest}: 'highly available' is set in RHEV-M, which may restart it behind "
                f"VCS's back; switch that off"
            )
        taken_within_s = ACCEPTED_LIMIT_S
        while True:
            try:
                self._set_payload(vm)
                self._start_once(vm, me)
                break
            except errors.Silent as error:
                # A start takes long where the host connects LUNs first. Ordered again it would only
                # be refused, so it is waited for like one that was accepted.
                self._log.warning(f"{self._guest}: no answer to the start yet: {error}")
                taken_within_s = UNANSWERED_LIMIT_S
                break
            except errors.WrongState as error:
                if not any(text in str(error) for text in _TRY_AGAIN):
                    raise errors.OperationFailed(f"RHEV-M refuses: {error}") from None
                if self._deadline.remaining() < RETRY_EVERY_S:
                    raise errors.OperationFailed(f"RHEV-M still refuses: {error}") from None
                self._log.debug(1, f"{self._guest}: {error}; trying again")
            self._deadline.sleep(RETRY_EVERY_S)
            vm = self._inventory.vm()
            if vm.status not in _STARTABLE:
                return
        self._wait_until_taken(taken_within_s)

    def resume(self) -> None:
        """POST start of a paused VM: it goes on where it is."""
        vm = self._own("resume")
        if vm.status != "paused":  # a plain start of anything else could start it on any host
            raise errors.WrongState(f"resume: it is {vm.status} now")
        self._session.post(f"/vms/{vm.id}/start", wire.action())

    def wake(self) -> None:
        """RHEV-M has no such state.

        Raises:
            WrongState: always.
        """
        raise errors.WrongState("RHEV-M cannot wake a guest")

    def shutdown(self) -> None:
        """POST shutdown, once and only to a guest that is up.

        In every other state RHEV-M turns it into a power-off, and a second one while the guest is
        powering down as well. So one that boots is waited for, and there is never a second
        request: one that goes back to up has refused.
        """
        if self._has_asked_to_shut_down:
            if self._has_gone_back_up:
                raise errors.WrongState(
                    "it went back to up, so the guest refused to shut down; not asked again"
                )
            return
        # lifecycle asks at the begin and half-way, so each may wait for half of the delay.
        end = time.monotonic() + self._deadline.slice(self._config.delay_after_offline_s / 2)
        while True:
            vm = self._own("shut down")
            if vm.status == "up":
                break
            if vm.status == "powering_down":
                return
            if time.monotonic() + LOOK_EVERY_S > end:
                raise errors.WrongState(
                    f"not asked to shut down: it is {vm.status}, and RHEV-M would power it off"
                )
            self._deadline.sleep(LOOK_EVERY_S)
        self._has_asked_to_shut_down = True
        self._session.post(f"/vms/{vm.id}/shutdown", wire.action())

    def destroy(self) -> None:
        """POST stop, only to a VM on this host, and only in a state in which stop is harmless.

        A suspended VM would lose its memory, a migrating one is being taken over; a 409 "VM is not
        running" is what RHEV-M also says of a VM it lost sight of. So states that pass are waited
        for, and what RHEV-M answers is never taken for the result.
        """
        while True:
            vm, where = self._seen()
            if where.place != HERE:
                return  # lifecycle looks, and tells what that means
            if vm.status in _STOPPABLE:
                self._session.post(f"/vms/{vm.id}/stop", wire.action())
                return
            if vm.status in _LOST or self._deadline.remaining() < LOOK_EVERY_S:
                raise errors.WrongState(f"not stopped: it is {vm.status}")
            self._deadline.sleep(LOOK_EVERY_S)

    def save_configuration(self) -> str:
        """RHEV-M keeps the configuration of its VMs."""
        return ""

    def redefine(self) -> str:
        """Nothing to do, for the same reason."""
        return ""

    def migrate(self, target: str) -> bool:
        """POST migrate to the target's host in RHEV-M; see ``migration``."""
        vm = self._own("migrate")
        move = migration.Move(
            self._config, self._options, self._session, self._inventory, self._deadline, self._log
        )
        return move.to(target, vm, self._this_host())

    # What the verbs share

    @property
    def _session(self) -> Session:
        if self._session_or_none is None:
            place = Place(self._config.rhevm_info, self._options, self._memory, self._env)
            self._session_or_none = Session(place, self._deadline, self._log)
        return self._session_or_none

    @property
    def _inventory(self) -> Inventory:
        if self._inventory_or_none is None:
            node = identity.read(self._options.hosts, self._env)
            self._inventory_or_none = Inventory(self._config, self._session, self._memory, node)
        return self._inventory_or_none

    def _seen(self) -> tuple[Vm, Where]:
        """The VM now; this node is identified anew before anything is done or said to be lost."""
        vm = self._inventory.vm()
        is_certain = not self._is_read_only or vm.status in _LOST
        return vm, self._inventory.where(vm, is_certain=is_certain)

    def _own(self, what: str) -> Vm:
        """The VM as it is now, on this host for certain.

        Raises:
            RunsElsewhere: it is on another one.
            WrongState: RHEV-M shows it on none, or this node is not known to be that host.
        """
        vm, where = self._seen()
        if where.place == ELSEWHERE:
            raise errors.RunsElsewhere(f"{what}: it is on {where.host}, not on this host")
        if where.place != HERE:
            raise errors.WrongState(
                f"{what}: it is {vm.status or 'without a status'}"
                f" and not known to be on this host {where.why}".rstrip()
            )
        return vm

    def _this_host(self) -> Host:
        me, why = self._inventory.this_host()
        if me is None:
            raise errors.OperationFailed(f"this node is not found in RHEV-M: {why}")
        return me

    def _free_from(self, vm: Vm) -> Vm:
        return rescue.Rescue(
            self._config, self._options, self._session, self._inventory, self._env
        ).free(vm, self._deadline, self._log)

    def _set_payload(self, vm: Vm) -> None:
        from kvmguest.rhev import payload  # noqa: PLC0415 - ipaddress and re cost 5 ms

        wanted = payload.wanted_by(self._config.dr_opts)
        payload.bring_up_to_date(vm, wanted, self._session, self._log)

    def _start_once(self, vm: Vm, me: Host) -> None:
        """On this host, which VCS chose; a suspended VM is resumed here too, or not at all."""
        on_this_host = wire.action(vm=wire.vm_on_host(me.id, self._session.api.version))
        self._session.post(f"/vms/{vm.id}/start", on_this_host)

    def _wait_until_taken(self, seconds: float) -> None:
        """A start may be accepted (202) long before the VM leaves its old state."""
        end = time.monotonic() + min(seconds, self._deadline.remaining() - _LAST_LOOK_S)
        while time.monotonic() < end:
            try:
                if self._inventory.vm().status not in _STARTABLE:
                    return
            except errors.BackendError as error:
                self._log.debug(1, f"{self._guest}: cannot be seen while it starts: {error}")
            self._deadline.sleep(LOOK_EVERY_S)
