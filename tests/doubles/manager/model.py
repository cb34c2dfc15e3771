"""What the engine knows, as plain objects. Tests read and write these fields directly.

Nothing here knows HTTP or XML. Times are engine seconds (see clock). A host or a VM keeps its
World only for the few verbs a test wants to write as a sentence: `m.host("h1").die()`.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.doubles.manager.world import World

GONE = frozenset({"down", "suspended", "image_locked", "image_illegal"})
"""VM statuses in which no QEMU process exists and no <host> is shown."""

RUNNING = frozenset(
    {
        "up",
        "powering_up",
        "powering_down",
        "migrating",
        "wait_for_launch",
        "reboot_in_progress",
    }
)
"""What the engine itself calls running: paused and not_responding are not in it."""


def fixed_id(kind: str, name: str) -> str:
    """The same id for the same name in every run, so that a failure can be repeated."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind}/{name}"))


@dataclass
class Payload:
    """Files on a CD (or floppy) that the engine builds at the VM's start."""

    kind: str = "cdrom"
    files: dict[str, str] = field(default_factory=dict)
    volume_id: str = ""


@dataclass(eq=False)
class Cluster:
    name: str
    id: str
    data_center: str = "Default"


@dataclass(eq=False)
class Host:
    name: str
    id: str
    cluster: Cluster
    address: str
    hardware_uuid: str
    vdsm_id: str  # never shown, only searchable as hw_id
    status: str = "up"
    status_detail: str = ""
    is_spm: bool = False
    has_power_management: bool = False
    free_memory_mib: int = 65536
    reachable: bool = True  # false: the engine hears nothing from it
    fenced_at: float = -1e9
    epoch: int = 0
    world: World | None = field(default=None, repr=False)

    def die(self) -> None:
        """Power is gone: its guests are really dead, and the engine does not know yet."""
        self._in_world().lose_host(self, power=True)

    def cut_off(self) -> None:
        """The engine's network to it is gone; its guests run on."""
        self._in_world().lose_host(self, power=False)

    def recover(self) -> None:
        """It answers the engine again and reports what really runs."""
        self._in_world().find_host(self)

    def _in_world(self) -> World:
        if self.world is None:
            raise RuntimeError(f"host {self.name} belongs to no manager")
        return self.world


@dataclass(eq=False)
class Vm:
    name: str
    id: str
    cluster: Cluster
    status: str = "down"
    status_detail: str = ""
    host: Host | None = None
    memory_mib: int = 1024
    comment: str = ""
    description: str = ""
    affinity: str = "migratable"  # or user_migratable, pinned
    pinned_to: list[Host] = field(default_factory=list)
    high_availability: bool = False
    stateless: bool = False
    run_once: bool = False
    stop_reason: str = ""
    started_at: float | None = None
    stopped_at: float | None = None
    payload: Payload | None = None
    next_run: list[Payload | None] | None = None  # [payload] waiting for the next shutdown
    cd: Payload | None = None  # what the running guest sees
    has_saved_memory: bool = False
    # How the guest behaves
    boots: bool = True
    has_agent: bool = True
    has_acpi: bool = True
    ignores_shutdown: bool = False
    migration_fails: bool = False
    # What is in the way
    disks_locked: list[str] = field(default_factory=list)
    snapshot_running: bool = False
    backup_running: bool = False
    command_running: bool = False
    cd_has_iso: bool = False
    # How long things take
    launch_s: float = 1.5
    boot_s: float = 20.0  # with an agent; without one the engine says up after 60 s
    shutdown_s: float = 15.0
    stop_s: float = 2.0
    save_s: float = 8.0
    restore_s: float = 8.0
    migrate_s: float = 20.0
    reboot_s: float = 15.0
    # Internal: where QEMU processes of it really exist (host ids), and the plan's age
    processes: set[str] = field(default_factory=set)
    epoch: int = 0
    origin_host: Host | None = None
    migrating_since: float = 0.0
    target_host: Host | None = None
    world: World | None = field(default=None, repr=False)

    def power_off_inside(self) -> None:
        """The guest turns itself off."""
        self._in_world().guest_powers_off(self)

    def lock_images(self, for_s: float) -> None:
        """image_locked for so many engine seconds, then down."""
        self._in_world().lock_images(self, for_s)

    def _in_world(self) -> World:
        if self.world is None:
            raise RuntimeError(f"VM {self.name} belongs to no manager")
        return self.world


@dataclass(eq=False)
class Engine:
    """The engine's own process: up, down (the proxy says 503) or deploying (404)."""

    status: str = "up"
    epoch: int = 0


@dataclass(eq=False)
class AffinityGroup:
    name: str
    id: str
    cluster: Cluster
    positive: bool = True
    enforcing: bool = True
    vms: list[Vm] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    id: str
    description: str
    status: str = "finished"


@dataclass(eq=False)
class RunningAction:
    """An action answered with 202: it is complete at done_at."""

    id: str
    path: str  # below the API's base, e.g. "vms/<id>/start"
    done_at: float
