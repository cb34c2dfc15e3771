"""The DROpts CD of a VM: set before a start, replaced when it changed, removed when it is not due.

RHEV-M builds the CD itself from a payload that is part of the VM's configuration. Inside ``start``
it is silently ignored, so it is set with PUT while the VM is down, and read back: what the guest
shall boot with is known before it boots. One VM has one payload, and one that is not ours stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from kvmguest import drnet
from kvmguest.errors import BackendError, ConfigError, OperationFailed, WrongState
from kvmguest.log import Log
from kvmguest.rhev import wire
from kvmguest.rhev.session import Session
from kvmguest.rhev.wire import Payload, Vm

CDROM = "cdrom"


def wanted_by(dr_opts: Mapping[str, str]) -> Payload | None:
    """The CD that DROpts asks for, None for no CD.

    Raises:
        OperationFailed: DROpts is wrong; the VM must not be started then.
    """
    try:
        parameters = drnet.parse(dr_opts)
        text = drnet.payload(parameters) if parameters else ""
    except ConfigError as error:
        raise OperationFailed(f"{error}; correct DROpts") from None
    return Payload(CDROM, drnet.VOLUME_LABEL, ((drnet.FILE_NAME, text),)) if parameters else None


def bring_up_to_date(vm: Vm, wanted: Payload | None, session: Session, log: Log) -> None:
    """Give a VM that is down the CD it shall boot with, or take ours away.

    A suspended VM goes on where it was, so it is left as it is, and the log says so.

    Raises:
        WrongState: not now; the VM may be started once this was done.
        OperationFailed: another payload is in the way, or RHEV-M did not keep what was written; the
            VM must not be started then.
    """
    if vm.status == "suspended":
        if wanted and not _is_same(vm.payload, wanted):
            log.warning(f"{vm.name}: it was suspended, so it goes on with the network it had")
        return
    if vm.status != "down":  # it may be down by the time of the start, and boot without its CD
        raise WrongState(f"it is {vm.status} now")
    now = vm.payload
    if _is_same(now, wanted):
        return
    if now is not None and not _is_ours(now):
        if wanted is None:
            return
        raise OperationFailed(
            f"the VM has another payload ({now.volume_id or 'without a label'}: "
            f"{', '.join(name for name, _text in now.files)}), and RHEV-M takes one only: remove "
            f"it there, or set DROpts.ConfigureNetwork to 0"
        )
    try:
        session.put(f"/vms/{vm.id}", wire.vm_with_payload(wanted, session.api))
        kept = wire.read_vm(session.get(f"/vms/{vm.id}")).payload
    except WrongState as error:
        raise WrongState(f"the CD for DROpts cannot be set: {error}") from None
    except BackendError as error:
        raise OperationFailed(f"the CD for DROpts cannot be set: {error}") from None
    if not _is_same(kept, wanted):
        done = "set" if wanted else "removed (3.1 and 3.2 cannot; clear the VM's payload by hand)"
        raise OperationFailed(
            f"RHEV-M says that the CD for DROpts was {done}, but does not show so"
        )
    log.info(
        f"{vm.name}: the CD with the network of this site was {'set' if wanted else 'removed'}"
    )


def _is_ours(payload: Payload) -> bool:
    """By its label; 3.1 and 3.2 know none, so there by its only file."""
    names = [name for name, _text in payload.files]
    if payload.volume_id:
        return payload.volume_id == drnet.VOLUME_LABEL
    return names == [drnet.FILE_NAME]


def _is_same(now: Payload | None, wanted: Payload | None) -> bool:
    if now is None or wanted is None or not _is_ours(now):
        return now is None and wanted is None
    return (now.kind, now.files) == (wanted.kind, wanted.files)
