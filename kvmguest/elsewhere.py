"""Does the guest run on another node, or has it run there while its memory was kept here?

Asked before this node starts a guest or lets one go on: a second copy, and yesterday's memory too,
would write over what the first one wrote.

libvirt, or its log, remembers that a guest left by live migration, and nothing else. Between a
migration by hand and the moment the cluster notices the guest on its new node, the cluster may ask
this node to start it again. So the other nodes' libvirts are asked first, all at once. A node that
does not answer is no reason not to start: it may be the dead one that the guest is saved from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING

import libvirt

from kvmguest import errors, saved_memory, vcs
from kvmguest.deadline import Pending
from kvmguest.log import Log
from kvmguest.options import Options
from kvmguest.process_table import LIBVIRT_STATUS, log_says_migrated
from kvmguest.states import libvirt_words

if TYPE_CHECKING:
    from kvmguest.migration import Call

CONNECT_LIMIT_S = 10.0
ASK_LIMIT_S = 5.0
VCS_LIMIT_S = 5.0
_ENDED = frozenset({"shut off", "crashed"})
_STILL = _ENDED | {"paused", "pmsuspended"}


class Elsewhere:
    """What this node can find out about its guest and the other nodes."""

    def __init__(
        self, guest: str, options: Options, call: Call, log: Log, env: Mapping[str, str]
    ) -> None:
        self._guest = guest
        self._options = options
        self._call = call
        self._log = log
        self._env = env

    def refuse_if_it_left(self, domain: libvirt.virDomain | None, noted: str | None) -> None:
        """A guest that left by live migration, or by hand, may run where it went.

        Args:
            domain: None if the guest is not defined here any more.
            noted: the system that somebody noted it went to (MigratedMarker.target).

        Raises:
            RunsElsewhere: it does.
        """
        words = libvirt_words(*self._call("domstate --reason", domain.state)) if domain else ()
        has_left = words == ("shut off", "migrated") or log_says_migrated(self._guest)
        if has_left or noted is not None:
            self._refuse_if_active(_ENDED, noted or "")

    def is_saved_memory_stale(self, domain: libvirt.virDomain) -> bool:
        """Whether the guest has run elsewhere since its memory was saved here.

        Raises:
            RunsElsewhere: the disks do not tell, but another node says that it runs there.
        """
        image = saved_memory.IMAGE.format(self._guest)
        evidence = self._evidence(domain, image)
        if evidence.written:
            self._log.warning(
                f"{self._guest}: {', '.join(evidence.written)} was written to after its memory was "
                f"saved ({image}), so it has run elsewhere since: the saved memory is given up, "
                "and the guest boots"
            )
        else:
            self._doubt(evidence.unknown, f"its saved memory ({image}) is restored", _ENDED)
        return bool(evidence.written)

    def refuse_to_go_on(self, domain: libvirt.virDomain) -> None:
        """A guest that stands still must not go on over disks that went on without it.

        Raises:
            OperationFailed: they did.
            RunsElsewhere: the disks do not tell, but another node says that it runs there.
        """
        record = os.path.join(LIBVIRT_STATUS, f"{self._guest}.xml")
        evidence = self._evidence(domain, record)
        if evidence.written:
            raise errors.OperationFailed(
                f"{', '.join(evidence.written)} was written to after it was paused here ({record}),"
                " so it has run elsewhere since, and its memory here would destroy what was "
                "written: virsh destroy it (VCS's clean does), or virsh resume it if you know who "
                "wrote"
            )
        self._doubt(evidence.unknown, "it goes on", _STILL)  # it is paused here, too

    def _doubt(self, disks: Sequence[str], what: str, harmless: AbstractSet[str]) -> None:
        """What the disks do not tell, the other nodes may: whether it runs there at this moment."""
        if disks:
            self._refuse_if_active(harmless)
            self._log.warning(
                f"{self._guest}: {what}, though it cannot be seen whether {', '.join(disks)} was "
                "written to by another host since"
            )

    def _evidence(self, domain: libvirt.virDomain, record: str) -> saved_memory.Evidence:
        with errors.needing_lxml():
            from kvmguest import guestxml  # noqa: PLC0415
        text = self._call("dumpxml", domain.XMLDesc)
        disks = guestxml.writable_disks(guestxml.parse(text.encode(), "virsh dumpxml"))
        return saved_memory.compare(record, disks)

    def _refuse_if_active(self, harmless: AbstractSet[str], noted: str = "") -> None:
        """Ask the other nodes, but for those that VCS knows to be dead.

        Each system is asked at its migrate_uri. This node may be among them: ``harmless`` has the
        state that the guest is in here.
        """
        known = [noted, *self._options.hosts, *vcs.systems(self._env, VCS_LIMIT_S)]
        asked = {
            system: Pending(partial(self._state_on, system))
            for system in dict.fromkeys(filter(None, known))
            if not vcs.has_system_died(system, self._env, VCS_LIMIT_S)
        }
        for system, pending in asked.items():
            try:
                state, reason = pending.result(system, CONNECT_LIMIT_S + 2 * ASK_LIMIT_S)
            except errors.GuestNotFound:
                continue
            except errors.BackendError as error:
                self._log.warning(
                    f"{self._guest}: whether it runs on {system} cannot be seen: {error}"
                )
                continue
            if state not in harmless:
                raise errors.RunsElsewhere(f"{system} says {state} ({reason})")

    def _state_on(self, system: str) -> tuple[str, str]:
        with errors.needing_lxml():
            from kvmguest.migration import plan  # noqa: PLC0415
        uri = plan(system, self._options).uri
        call = self._call
        connection = call(f"-c {uri} connect", lambda: libvirt.openReadOnly(uri), CONNECT_LIMIT_S)
        domain = call(f"-c {uri} domid", lambda: connection.lookupByName(self._guest), ASK_LIMIT_S)
        return libvirt_words(*call(f"-c {uri} domstate", domain.state, ASK_LIMIT_S))
