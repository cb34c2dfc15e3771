"""PUT /vms/{id}: the few fields an agent or an administrator writes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tests.doubles.manager import bodies
from tests.doubles.manager.accounts import User
from tests.doubles.manager.model import Payload, Vm
from tests.doubles.manager.refusal import BAD, CONFLICT, Refused, not_authorized
from tests.doubles.manager.world import World

_AFFINITIES = frozenset({"migratable", "user_migratable", "pinned"})
_EDITED_AT_ONCE = frozenset({"down", "image_locked", "image_illegal"})


def update(
    world: World, user: User, vm: Vm, body: ET.Element, version: int, *, filtered: bool
) -> None:
    """Apply a <vm>.

    Raises:
        Refused: permission, lock, or a value the engine does not take.
    """
    if not user.may("EDIT_VM_PROPERTIES") or not user.sees(vm.name):
        raise not_authorized()
    affinity = None if filtered else bodies.text(body, "placement_policy/affinity")
    if affinity is not None and affinity not in _AFFINITIES:
        raise Refused(BAD, f"Invalid value: {affinity}", reason="Invalid value", plain=True)
    available = bodies.boolean(body, "high_availability/enabled")
    has_payload = body.find("payloads") is not None
    payload = bodies.payload(body, version, world.profile) if has_payload else None
    if vm.command_running:
        raise Refused(
            CONFLICT,
            "Cannot edit VM. Related operation is currently in progress. Please try again later.",
        )
    if has_payload:
        _set_payload(world, vm, payload, cleared=body.find("payloads/payload") is None)
    vm.name = bodies.text(body, "name") or vm.name
    for name in ("comment", "description"):
        found = bodies.text(body, name)
        if found is not None:
            setattr(vm, name, found)
    vm.affinity = affinity or vm.affinity
    vm.high_availability = vm.high_availability if available is None else available


def _set_payload(world: World, vm: Vm, payload: Payload | None, *, cleared: bool) -> None:
    """Written at once only while the VM is down; a running guest's CD never changes."""
    profile = world.profile
    if profile.single_file_payload:
        if cleared:
            return
        if vm.cd_has_iso:
            raise Refused(CONFLICT, "Cannot edit VM. A payload needs a CD without an ISO.")
    new = None if cleared else payload
    if vm.status in _EDITED_AT_ONCE or not profile.stores_next_run:
        vm.payload = new
    else:
        vm.next_run = [new]
