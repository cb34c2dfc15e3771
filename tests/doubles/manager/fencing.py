"""POST /hosts/{id}/fence, above all `manual`: 'Confirm host has been rebooted'."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import NamedTuple

from tests.doubles.manager import bodies
from tests.doubles.manager.accounts import User
from tests.doubles.manager.model import Host, Job
from tests.doubles.manager.profiles import Profile
from tests.doubles.manager.refusal import BAD, CONFLICT, Refused, not_authorized
from tests.doubles.manager.world import World

_TYPES = frozenset({"manual", "restart", "start", "stop", "status"})
_CONFIRMABLE = frozenset(
    {
        "down",
        "install_failed",
        "maintenance",
        "non_operational",
        "non_responsive",
        "reboot",
        "installing",
    }
)
STARTUP_S = 300.0  # DisableFenceAtStartupInSec
QUIET_S = 180.0  # FenceQuietTimeBetweenOperationsInSec
_SPM_MAY_GO = frozenset({"not_operational", "non_responsive", "maintenance"})


class Fenced(NamedTuple):
    """What the reply needs; failure is set only for a status question, which is a 200."""

    job: Job | None
    power: str | None = None
    failure: Refused | None = None


def fence(world: World, user: User, host: Host, body: ET.Element) -> Fenced:
    """Check and do.

    Raises:
        Refused: 4xx with the engine's text.
    """
    kind = bodies.text(body, "fence_type")
    if not kind:
        raise Refused(
            BAD,
            "Action [fenceType] required for fence",
            reason="Incomplete parameters",
            plain=True,
        )
    kind = kind.lower()
    if kind not in _TYPES:
        raise Refused(BAD, f"Invalid value: {kind}", reason="Invalid value", plain=True)
    if not user.may("MANIPULATE_HOST"):
        raise not_authorized()
    if kind == "status":
        return _power_status(world, host)
    if kind == "manual":
        _confirm_rebooted(world, host)
    else:
        _power_cycle(world, host, kind)
    return Fenced(world.add_job(f"Fencing host {host.name}"))


def _confirm_rebooted(world: World, host: Host) -> None:
    """Complete does not mean that a VM was cleared: see the statuses below."""
    if host.status not in _confirmable(world.profile):
        raise Refused(
            CONFLICT,
            "Cannot confirm 'Host has been rebooted' Host. Valid Host statuses are "
            '"Non operational", "Maintenance" or "Connecting".',
        )
    if host.is_spm:
        others = [h for h in world.hosts.values() if h is not host and h.status == "up"]
        if not others or world.data_center_status not in _SPM_MAY_GO:
            raise Refused(
                CONFLICT,
                "Cannot confirm 'Host has been rebooted' Host. The Host is the SPM and another "
                "Host must be up while the Data Center is not.",
            )
    if host.status in _clearing(world.profile):
        world.clear_vms(host)


def _confirmable(profile: Profile) -> frozenset[str]:
    return _CONFIRMABLE | ({"connecting", "kdumping"} if profile.release > (3, 1) else set())


def _clearing(profile: Profile) -> frozenset[str]:
    if profile.release == (3, 1):
        return frozenset({"non_responsive"})
    return frozenset({"non_responsive", "reboot", "kdumping"})


def _power_status(world: World, host: Host) -> Fenced:
    if not host.has_power_management:
        failure = Refused(CONFLICT, "Cannot fence Host, Host fence is disabled.")
        return Fenced(world.add_job(f"Fencing host {host.name}"), failure=failure)
    powered = host.reachable or any(host.id in vm.processes for vm in world.vms.values())
    return Fenced(None, power="on" if powered else "off")


def _power_cycle(world: World, host: Host, kind: str) -> None:
    if not host.has_power_management:
        raise Refused(CONFLICT, "Cannot fence Host, Host fence is disabled.")
    if not [h for h in world.hosts.values() if h is not host and h.status == "up"]:
        raise Refused(CONFLICT, "Cannot fence Host. There is no other Host in UP state to ask.")
    if world.moment - world.engine_started_at < STARTUP_S:
        raise Refused(CONFLICT, "Fence is disabled due to the Engine Service start up sequence.")
    quiet_s = QUIET_S - (world.moment - host.fenced_at)
    if quiet_s > 0:
        raise Refused(
            CONFLICT,
            "Another Power Management operation is still running, "
            f"please retry in {quiet_s:.0f} Sec.",
        )
    if kind == "stop" and host.status != "maintenance":
        raise Refused(CONFLICT, "Cannot stop Host. Host is not in maintenance mode.")
    host.fenced_at = world.moment
    for vm in world.vms.values():
        vm.processes.discard(host.id)
    world.clear_vms(host)
    world.begin(host)
    host.status, host.reachable = ("down", False) if kind == "stop" else ("reboot", False)
    if kind != "stop":
        world.find_host(host)
