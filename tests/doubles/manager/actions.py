"""POST /vms/{id}/{action}: what the engine checks, in its order, and in its words.

The order is permission, inputs, lock, state. A reply of `complete` means that the command went to
the host, not that the VM has arrived anywhere.
"""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from functools import partial
from typing import Callable, NamedTuple

from tests.doubles.manager import bodies, course, placement
from tests.doubles.manager.accounts import User
from tests.doubles.manager.model import RUNNING, Host, Job, RunningAction, Vm, fixed_id
from tests.doubles.manager.profiles import Profile
from tests.doubles.manager.refusal import (
    BAD,
    CONFLICT,
    MISSING,
    NotFound,
    Refused,
    not_authorized,
)
from tests.doubles.manager.world import World

_STOPPABLE = RUNNING | {"paused", "not_responding", "suspended"}
_MIGRATABLE = frozenset({"up", "powering_up", "paused", "reboot_in_progress"})
_IN_STORAGE_TROUBLE = frozenset({"eio", "enospc", "eperm", "eother"})


class Command(NamedTuple):
    """One action as it came in."""

    world: World
    user: User
    vm: Vm
    body: ET.Element
    version: int  # of the API
    filtered: bool

    @property
    def profile(self) -> Profile:
        return self.world.profile


class Outcome(NamedTuple):
    """What to answer with: at once, later (202), or after blocking until done_at."""

    job: Job | None
    running: RunningAction | None = None


Step = Callable[[Command], None]


def perform(command: Command, verb: str) -> Outcome:
    """Check and do.

    Raises:
        Refused: 4xx with the engine's text.
        NotFound: the verb does not exist in this release.
    """
    group, words, do = _VERBS[verb]
    if not _exists(verb, command.profile):
        raise NotFound
    if not command.user.may(group) or not command.user.sees(command.vm.name):
        raise not_authorized()
    if command.world.in_maintenance:
        raise Refused(
            CONFLICT, "Engine is running in Maintenance mode and is not accepting commands."
        )
    for name in ("async", "force", "pause", "use_cloud_init", "use_sysprep", "volatile"):
        bodies.boolean(command.body, name)
    do(command)
    job = command.world.add_job(f"{words} VM {command.vm.name}")
    return Outcome(job, _running(command, verb))


def unknown_vm(command_name: str, *, has_vm: bool) -> Exception:
    """What an action on an id that does not exist gets: not the 404 of a GET."""
    if command_name == "start" and has_vm:
        return NotFound()
    return Refused(BAD, f"Cannot {_VERBS[command_name][1]} VM. VM is not found.")


def _running(command: Command, verb: str) -> RunningAction | None:
    """The 202 form: only where the engine has VDSM tasks of its own to wait for."""
    takes_tasks = (verb == "start" and command.vm.stateless) or verb == "suspend"
    if not takes_tasks or command.world.async_s <= 0:
        return None
    action = RunningAction(
        fixed_id("action", str(len(command.world.running_actions))),
        f"vms/{command.vm.id}/{verb}",
        command.world.moment + command.world.async_s,
    )
    command.world.running_actions[action.id] = action
    return action


def _exists(verb: str, profile: Profile) -> bool:
    return {"reboot": profile.has_reboot, "reset": profile.has_reset}.get(verb, True)


def _not_busy(command: Command, what: str) -> None:
    if command.vm.command_running:
        raise Refused(
            CONFLICT,
            f"Cannot {what} VM. Related operation is currently in progress. "
            "Please try again later.",
        )


def _reachable(vm: Vm) -> None:
    if vm.host is not None and not vm.host.reachable:
        raise Refused(BAD, "Network error during communication with the Host.")


# start


def _start(command: Command) -> None:
    vm, world, body = command.vm, command.world, command.body
    once = body.find("vm")
    wanted = None if once is None else bodies.host_in_policy(once, command.version, world.profile)
    host = None if wanted is None else find_host(world, wanted)
    if wanted is not None and host not in vm.pinned_to:
        _may_choose_host(command.user)
    if bodies.boolean(body, "use_cloud_init") and bodies.boolean(body, "use_sysprep"):
        raise Refused(CONFLICT, "Cannot run VM. Cloud-init and sysprep cannot be used together.")
    _not_busy(command, "run")
    if vm.status == "paused":
        _unpause(command)
        return
    _startable(command)
    only = [host] if wanted is not None else vm.pinned_to
    chosen = placement.place(world, vm, only, "run", must=wanted is not None)
    run_once = once is not None or world.profile.single_file_payload
    if vm.status == "suspended":
        course.resume(world, vm, chosen)
    elif vm.stateless and world.async_s > 0:
        world.begin(vm)
        vm.status = "image_locked"
        world.later(vm, world.async_s, partial(course.launch, world, vm, chosen, run_once=run_once))
    else:
        paused = bool(bodies.boolean(body, "pause"))
        course.launch(world, vm, chosen, run_once=run_once, paused=paused)


def _may_choose_host(user: User) -> None:
    if not user.may("EDIT_ADMIN_VM_PROPERTIES"):
        raise not_authorized()


def _unpause(command: Command) -> None:
    host = command.vm.host
    if host is not None and host.status != "up":
        raise Refused(
            CONFLICT, "Cannot run VM. Operation can be performed only when Host status is Up."
        )
    course.unpause(command.world, command.vm)


def _startable(command: Command) -> None:
    vm = command.vm
    if vm.status == "image_locked":
        raise Refused(CONFLICT, "Cannot run VM: VM is locked. Please try again in a few minutes.")
    if vm.snapshot_running:
        raise Refused(
            CONFLICT,
            "Cannot run VM. The VM is performing an operation on a Snapshot. "
            "Please wait for the operation to finish, and try again.",
        )
    if vm.status not in {"down", "suspended"}:
        runs = vm.status in RUNNING | {"not_responding"}
        if vm.status == "not_responding" or (runs and not command.profile.names_status_in_refusal):
            raise Refused(CONFLICT, "Cannot run VM. VM is running.")
        raise Refused(CONFLICT, f"Cannot run VM because the VM is in {in_words(vm.status)} status.")
    if vm.disks_locked:
        raise Refused(
            CONFLICT,
            f"Cannot run VM: The following disks are locked: {', '.join(vm.disks_locked)}. "
            "Please try again in a few minutes.",
        )


def in_words(status: str) -> str:
    """image_locked -> Image Locked."""
    return status.replace("_", " ").title()


def find_host(world: World, wanted: bodies.Reference) -> Host | None:
    """The host a body names; None for an id that no host has.

    Raises:
        Refused: 400, the id is not one; 404, no host of that name.
    """
    if wanted.id:
        if not is_id(wanted.id):
            raise Refused(
                BAD, f"Invalid id: {wanted.id}", reason="Operation failed", plain=True, early=True
            )
        return world.hosts.get(wanted.id)
    for host in world.hosts.values():
        if host.name == wanted.name:
            return host
    raise Refused(MISSING, f"Entity not found: Hosts: name={wanted.name}", plain=True, early=True)


def is_id(candidate: str) -> bool:
    try:
        uuid.UUID(candidate)
    except ValueError:
        return False
    return True


# stop, shutdown, suspend, reboot


def _checked_stop(command: Command) -> bool:
    """Whether there is anything to stop; False where the engine just says complete."""
    vm, profile = command.vm, command.profile
    _not_busy(command, "stop")
    if vm.status == "down" and profile.skips_stop_when_down:
        return False
    if vm.status in {"saving_state", "restoring_state"}:
        raise Refused(
            CONFLICT,
            "Cannot stop VM. VM is in saving/restoring state. Please try again later.",
        )
    if vm.status not in _STOPPABLE:
        raise Refused(CONFLICT, "Cannot stop VM. VM is not running.")
    forced = profile.takes_reason_and_force and bodies.boolean(command.body, "force")
    if vm.backup_running and profile.takes_reason_and_force and not forced:
        raise Refused(CONFLICT, "Cannot stop VM. The VM is during a backup operation.")
    if vm.status != "suspended":
        _reachable(vm)
    return True


def _note_reason(command: Command) -> None:
    reason = bodies.text(command.body, "reason")
    if reason and command.profile.takes_reason_and_force:
        command.vm.stop_reason = reason


def _shutdown(command: Command) -> None:
    """Graceful only where the guest is up (4.4: or leaving) and can hear; else a power-off."""
    vm = command.vm
    if not _checked_stop(command):
        return
    _note_reason(command)
    hears = vm.has_acpi or vm.has_agent
    asked = {"up", "migrating"} if command.profile.takes_reason_and_force else {"up"}
    if vm.status in asked and hears:
        course.shut_down(command.world, vm)
    else:
        course.power_off(command.world, vm)


def _stop(command: Command) -> None:
    if _checked_stop(command):
        _note_reason(command)
        course.power_off(command.world, command.vm)


def _suspend(command: Command) -> None:
    vm = command.vm
    _not_busy(command, "hibernate")
    if vm.status in {"wait_for_launch", "not_responding"}:
        raise Refused(
            CONFLICT,
            f"Cannot hibernate VM because the VM is in {in_words(vm.status)} status.",
        )
    if vm.status != "up":
        raise Refused(CONFLICT, "Cannot hibernate VM. VM is not up.")
    if vm.stateless:
        raise Refused(CONFLICT, "Cannot hibernate VM. Stateless VMs cannot be suspended.")
    _reachable(vm)
    if command.world.async_s > 0:  # the disks for the memory come first; the VM stays up
        command.world.begin(vm)
        command.world.later(vm, command.world.async_s, partial(course.suspend, command.world, vm))
    else:
        course.suspend(command.world, vm)


def _reboot(command: Command) -> None:
    vm = command.vm
    _not_busy(command, "reboot")
    if vm.status not in {"up", "powering_up"}:
        raise Refused(
            CONFLICT, f"Cannot reboot VM because the VM is in {in_words(vm.status)} status."
        )
    _reachable(vm)
    course.reboot(command.world, vm)


# migrate


def _migrate(command: Command) -> None:
    vm, world = command.vm, command.world
    destination = command.body.find("host")
    wanted = None if destination is None else bodies.reference(destination)
    target = None if wanted is None else find_host(world, wanted)
    if wanted is not None and target is None:
        raise Refused(BAD, "Cannot migrate VM. Host does not exist.")
    _not_busy(command, "migrate")
    _may_leave(command)
    _reachable(vm)
    if target is None:
        target = placement.place(world, vm, [], "migrate", must=False)
    else:
        _may_arrive(vm, target)
        placement.place(world, vm, [target], "migrate", must=True)
    course.migrate(world, vm, target)


def _may_leave(command: Command) -> None:
    vm = command.vm
    forced = bool(bodies.boolean(command.body, "force"))
    rules: tuple[tuple[bool, str], ...] = (
        (vm.affinity == "pinned", "Cannot migrate VM. VM is pinned to Host."),
        (
            vm.affinity == "user_migratable" and not forced,
            (
                "Cannot migrate VM. VM is non migratable and user did not specify "
                "the force-migration flag"
            ),
        ),
        (vm.status == "migrating", "Cannot migrate VM. VM migration is in progress"),
        (
            vm.status == "paused" and vm.status_detail in _IN_STORAGE_TROUBLE,
            "Migrating a VM in paused status due to I/O error is not supported.",
        ),
        (vm.status not in _MIGRATABLE, "Cannot migrate VM. VM is not running."),
        (
            vm.backup_running and command.profile.takes_reason_and_force,
            "Cannot migrate VM. The VM is during a backup operation.",
        ),
    )
    for applies, sentence in rules:
        if applies:
            raise Refused(CONFLICT, sentence)


def _may_arrive(vm: Vm, target: Host) -> None:
    rules = (
        (
            target.cluster is not vm.cluster,
            (
                "Cannot migrate VM. If target Cluster is not specified VM can be migrated only "
                "between Hosts in the same Cluster. Please select target Host in the same Cluster."
            ),
        ),
        (target is vm.host, "Cannot migrate VM. source and destination is the same."),
        (
            target.status != "up",
            "Cannot migrate VM. Operation can be performed only when Host status is Up.",
        ),
    )
    for applies, sentence in rules:
        if applies:
            raise Refused(CONFLICT, sentence)


def _cancel_migration(command: Command) -> None:
    vm = command.vm
    if vm.status != "migrating":
        raise Refused(CONFLICT, "Cannot cancel migration for non migrating VM.")
    if vm.origin_host is not None and vm.host is not vm.origin_host:
        raise Refused(CONFLICT, "Cannot cancel migration for non migrating VM.")
    course.stay(command.world, vm)


_VERBS: dict[str, tuple[str, str, Step]] = {
    "start": ("RUN_VM", "run", _start),
    "stop": ("STOP_VM", "stop", _stop),
    "shutdown": ("SHUT_DOWN_VM", "shutdown", _shutdown),
    "suspend": ("HIBERNATE_VM", "hibernate", _suspend),
    "migrate": ("MIGRATE_VM", "migrate", _migrate),
    "cancelmigration": ("MIGRATE_VM", "cancel migration of", _cancel_migration),
    "reboot": ("REBOOT_VM", "reboot", _reboot),
    "reset": ("REBOOT_VM", "reset", _reboot),
}

VERBS = frozenset(_VERBS)
