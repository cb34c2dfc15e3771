"""The courses a VM's status takes once a command was accepted; times are engine seconds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.doubles.manager.model import Host, Payload, Vm

if TYPE_CHECKING:
    from tests.doubles.manager.world import World

SHUTDOWN_PATIENCE_S = 300.0  # vdsm stops calling it powering_down
BOOT_WITHOUT_AGENT_S = 60.0
HAND_OVER = 0.8  # share of a migration after which <host> names the destination


def launch(
    world: World, vm: Vm, host: Host, *, run_once: bool = False, paused: bool = False
) -> None:
    """Down -> wait_for_launch (with its host, before the reply) -> powering_up -> up."""
    world.begin(vm)
    world.open_process(vm, host)
    vm.cd = copy_of(vm.payload)
    vm.host, vm.status, vm.status_detail = host, "wait_for_launch", ""
    vm.run_once, vm.stop_reason, vm.started_at = run_once, "", world.moment
    if not vm.boots:
        world.later(vm, vm.launch_s, partial(_boot_failed, world, vm, [host]))
    elif paused:
        world.later(vm, vm.launch_s, partial(_become, vm, "paused"))
    else:
        world.later(vm, vm.launch_s, partial(_power_up, world, vm))


def _power_up(world: World, vm: Vm) -> None:
    vm.status = "powering_up"
    boot_s = vm.boot_s if vm.has_agent else BOOT_WITHOUT_AGENT_S
    world.later(vm, boot_s, partial(_become, vm, "up"))


def _become(vm: Vm, status: str) -> None:
    vm.status = status


def _boot_failed(world: World, vm: Vm, tried: list[Host]) -> None:
    """Down again, or once more on another host, unless one host was asked for."""
    others = [host for host in world.usable_hosts(vm.cluster) if host not in tried]
    vm.processes.clear()
    if vm.run_once or not others or len(tried) >= 3:
        finish(world, vm)
        return
    vm.host = others[0]
    world.open_process(vm, others[0])
    world.begin(vm)
    vm.status = "wait_for_launch"
    world.later(vm, vm.launch_s, partial(_boot_failed, world, vm, [*tried, others[0]]))


def resume(world: World, vm: Vm, host: Host) -> None:
    """Suspended -> restoring_state -> up, with the memory that was saved."""
    world.begin(vm)
    world.open_process(vm, host)
    vm.host, vm.status, vm.stop_reason = host, "restoring_state", ""
    vm.started_at = world.moment
    vm.has_saved_memory = False
    world.later(vm, vm.restore_s, partial(_become, vm, "up"))


def unpause(world: World, vm: Vm) -> None:
    world.begin(vm)
    vm.status, vm.status_detail = "up", ""


def shut_down(world: World, vm: Vm) -> None:
    """Up -> powering_down -> down; a guest that does not listen is up again after 300 s."""
    world.begin(vm)
    vm.status = "powering_down"
    if vm.ignores_shutdown:
        world.later(vm, SHUTDOWN_PATIENCE_S, partial(_become, vm, "up"))
    else:
        world.later(vm, vm.shutdown_s, partial(finish, world, vm))


def power_off(world: World, vm: Vm) -> None:
    """Destroy: the status stays as it was until the host's report says down."""
    world.begin(vm)
    if vm.status == "suspended":
        vm.has_saved_memory = False
        finish(world, vm)
    elif vm.status != "down":
        vm.processes.clear()
        world.later(vm, vm.stop_s, partial(finish, world, vm))


def finish(world: World, vm: Vm) -> None:
    """Down, by whatever way; a configuration kept for the next run takes effect."""
    world.begin(vm)
    vm.processes.clear()
    vm.status, vm.status_detail, vm.host = "down", "", None
    vm.run_once, vm.cd = False, None
    vm.stopped_at = world.moment
    if vm.next_run is not None:
        vm.payload = vm.next_run[0]
        vm.next_run = None


def suspend(world: World, vm: Vm) -> None:
    world.begin(vm)
    vm.status = "saving_state"
    world.later(vm, vm.save_s, partial(_suspended, vm))


def _suspended(vm: Vm) -> None:
    vm.processes.clear()
    vm.status, vm.host, vm.has_saved_memory = "suspended", None, True


def migrate(world: World, vm: Vm, target: Host) -> None:
    """Up -> migrating (source) -> migrating (destination) -> up there; or back to up here."""
    world.begin(vm)
    vm.origin_host, vm.target_host = vm.host, target
    vm.migrating_since = world.moment
    vm.status = "migrating"
    if vm.migration_fails:
        world.later(vm, vm.migrate_s / 2, partial(stay, world, vm))
    else:
        world.later(vm, vm.migrate_s * HAND_OVER, partial(_hand_over, world, vm, target))


def progress(world: World, vm: Vm) -> int:
    """Percent of a running migration; 0 without one."""
    if vm.status != "migrating":
        return 0
    return min(99, int((world.moment - vm.migrating_since) / vm.migrate_s * 100))


def _hand_over(world: World, vm: Vm, target: Host) -> None:
    if not target.reachable:
        # The source has let go and nobody can ask the destination.
        vm.host, vm.status = target, "unknown"
        vm.processes = {target.id}
        return
    vm.processes = {target.id}
    vm.host = target
    world.later(vm, vm.migrate_s * (1 - HAND_OVER), partial(_arrive, vm))


def _arrive(vm: Vm) -> None:
    vm.status, vm.origin_host, vm.target_host = "up", None, None


def stay(world: World, vm: Vm) -> None:
    """The migration ended without success: up on the source."""
    world.begin(vm)
    vm.status, vm.origin_host, vm.target_host = "up", None, None


def reboot(world: World, vm: Vm) -> None:
    """Up -> reboot_in_progress -> powering_up -> up; cold when a next run is waiting."""
    world.begin(vm)
    vm.status = "reboot_in_progress"
    if vm.next_run is not None and vm.host is not None:
        world.later(vm, vm.reboot_s, partial(_cold_reboot, world, vm, vm.host))
    else:
        world.later(vm, vm.reboot_s, partial(_power_up, world, vm))


def _cold_reboot(world: World, vm: Vm, host: Host) -> None:
    finish(world, vm)
    world.later(vm, vm.launch_s, partial(launch, world, vm, host))


def copy_of(payload: Payload | None) -> Payload | None:
    if payload is None:
        return None
    return Payload(payload.kind, dict(payload.files), payload.volume_id)
