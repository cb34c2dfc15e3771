"""Does a guest that left this node by live migration still run on another one?

libvirt, or its log, remembers that it left, and nothing else. Between a migration by hand and the
moment the cluster notices the guest on its new node, the cluster may ask this node to start it
again: the second copy would write to the same disk. So the other nodes' libvirts are asked first,
all at once. A node that does not answer is no reason not to start: it may be the dead one that the
guest is saved from.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import libvirt

from kvmguest import errors
from kvmguest.deadline import Pending
from kvmguest.log import Log
from kvmguest.migration import Call, plan
from kvmguest.options import Options
from kvmguest.states import libvirt_words

CONNECT_LIMIT_S = 10.0
ASK_LIMIT_S = 5.0
_ENDED = frozenset({"shut off", "crashed"})


def refuse_if_running(
    guest: str, systems: Iterable[str], options: Options, call: Call, log: Log
) -> None:
    """Ask each VCS system at its migrate_uri, this node among them, which has it shut off.

    Raises:
        RunsElsewhere: a system's libvirt says that the guest is active there.
    """
    asked = {
        system: Pending(partial(_state_on, system, options, guest, call)) for system in systems
    }
    for system, pending in asked.items():
        try:
            state, reason = pending.result(system, CONNECT_LIMIT_S + 2 * ASK_LIMIT_S)
        except errors.GuestNotFound:
            continue
        except errors.BackendError as error:
            log.warning(f"{guest}: whether it runs on {system} cannot be seen: {error}")
            continue
        if state not in _ENDED:
            raise errors.RunsElsewhere(f"{system} says {state} ({reason})")


def _state_on(system: str, options: Options, guest: str, call: Call) -> tuple[str, str]:
    uri = plan(system, options).uri
    connection = call(f"-c {uri} connect", lambda: libvirt.openReadOnly(uri), CONNECT_LIMIT_S)
    domain = call(f"-c {uri} domid", lambda: connection.lookupByName(guest), ASK_LIMIT_S)
    return libvirt_words(*call(f"-c {uri} domstate", domain.state, ASK_LIMIT_S))
