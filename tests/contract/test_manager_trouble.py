"""The manager's double: migration, permissions, hosts that die, fencing, engine restarts."""

from __future__ import annotations

import pytest

from tests.contract.engine_client import Client, detail, host_id, status
from tests.doubles.manager import Manager

NO = "Cannot migrate VM. "


def to(m: Manager, name: str) -> str:
    return f'<host id="{m.host(name).id}"/>'


def test_migration_hands_over_and_arrives() -> None:
    with Manager("3.6", hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        reply = c.act("g1", "migrate", to(m, "h2"))
        assert reply.status_code == 200
        assert to(m, "h2") in reply.text.replace(" />", "/>")  # what was sent is echoed
        seen = []
        for _ in range(25):
            seen.append((status(c.vm("g1")), m.world.hosts[host_id(c.vm("g1")) or ""].name))
            m.advance(1)
            progress = c.xml(f"/vms/{m.vm('g1').id}/statistics").findtext(
                ".//*[name='migration.progress']//datum"
            )
            assert progress == (str(len(seen) * 5) if len(seen) < 20 else "0")
        course = [("migrating", "h1"), ("migrating", "h2"), ("up", "h2")]
        assert list(dict.fromkeys(seen)) == course
        assert m.split_brains == []


def test_migration_that_fails_or_is_cancelled_stays() -> None:
    with Manager("4.4", hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1", migration_fails=True)
        assert c.act("g1", "cancelmigration").status_code == 409
        for order in ("", "cancelmigration"):
            c.act("g1", "migrate")
            m.advance(5)
            assert m.vm("g1").status == "migrating"
            if order:
                assert c.act("g1", order).status_code == 200
            m.advance(6)
            assert (m.vm("g1").status, m.vm("g1").host) == ("up", m.host("h1"))


@pytest.mark.parametrize(
    ("fields", "target", "text"),
    [
        ({"affinity": "pinned"}, "h2", NO + "VM is pinned to Host."),
        (
            {"affinity": "user_migratable"},
            "h2",
            NO + "VM is non migratable and user did not specify the force-migration flag",
        ),
        ({"status": "migrating"}, "h2", NO + "VM migration is in progress"),
        ({"status": "powering_down"}, "h2", NO + "VM is not running."),
        (
            {"status": "paused", "status_detail": "eio"},
            "h2",
            "Migrating a VM in paused status due to I/O error is not supported.",
        ),
        ({}, "h1", NO + "source and destination is the same."),
        ({}, "h3", NO + "Operation can be performed only when Host status is Up."),
        ({"backup_running": True}, "h2", NO + "The VM is during a backup operation."),
    ],
)
def test_migration_is_refused(fields: dict[str, object], target: str, text: str) -> None:
    with Manager("4.4", hosts=["h1", "h2", "h3"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        m.host("h3").status = "maintenance"
        for name, value in fields.items():
            setattr(m.vm("g1"), name, value)
        reply = c.act("g1", "migrate", to(m, target))
        assert (reply.status_code, detail(reply)) == (409, f"[{text}]")
        assert m.vm("g1").host is m.host("h1")


def test_migration_to_another_cluster_is_refused() -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_host("far", cluster="c2")
        m.add_vm("g1", "up", "h1")
        assert "only between Hosts in the same Cluster" in detail(
            c.act("g1", "migrate", to(m, "far"))
        )
        assert "no host that satisfies" in detail(c.act("g1", "migrate"))
        assert c.act("g1", "migrate", "<host><name>nobody</name></host>").status_code == 404


def test_a_destination_that_dies_at_the_hand_over_leaves_an_unknown_vm() -> None:
    with Manager("4.4", hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        c.act("g1", "migrate", to(m, "h2"))
        m.host("h2").cut_off()
        m.advance(20)
        assert (m.vm("g1").status, m.vm("g1").host) == ("unknown", m.host("h2"))
        m.host("h2").recover()
        m.advance(5)
        assert m.vm("g1").status == "up"


@pytest.mark.parametrize(
    ("role", "start", "start_here", "put", "migrate", "fence"),
    [
        ("SuperUser", 200, 200, 200, 200, 409),
        ("ClusterAdmin", 200, 200, 200, 200, 409),
        ("UserVmManager", 200, 403, 200, 200, 403),
        ("UserRole", 200, 403, 403, 403, 403),
        ("ReadOnlyAdmin", 403, 403, 403, 403, 403),
    ],
)
def test_what_a_role_may_do(
    role: str, start: int, start_here: int, put: int, migrate: int, fence: int
) -> None:
    joe = ("joe@internal", "joe")
    with Manager("4.4", hosts=["h1", "h2"], vms=["g1"], scale=0) as m, Client(m, user=joe) as c:
        m.add_user(*joe, role)
        here = f"<vm><placement_policy><hosts>{to(m, 'h1')}</hosts></placement_policy></vm>"
        assert c.act("g1", "start", here).status_code == start_here
        m.put("g1", "down")
        assert c.act("g1", "start").status_code == start
        m.put("g1", "up", "h1")
        assert c.put("g1", "<comment>x</comment>").status_code == put
        assert c.act("g1", "migrate").status_code == migrate
        refused = c.fence("h2", "manual")
        assert refused.status_code == fence
        if fence == 403:
            assert detail(refused) == "[User is not authorized to perform this action.]"


# Hosts


def test_a_dead_host_is_noticed_late() -> None:
    with Manager("4.4", hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        m.host("h1").die()
        m.advance(60)
        assert (m.host("h1").status, m.vm("g1").status) == ("connecting", "up")
        assert c.act("g1", "stop").status_code == 400  # nobody there to tell
        m.advance(1)
        assert (m.host("h1").status, m.vm("g1").status) == ("non_responsive", "unknown")
        assert host_id(c.vm("g1")) == m.host("h1").id
        m.host("h1").recover()
        m.advance(5)
        assert (m.host("h1").status, m.vm("g1").status) == ("up", "down")


def test_a_host_that_was_only_cut_off_brings_its_vms_back() -> None:
    with Manager("4.4", hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        m.host("h1").cut_off()
        m.advance(61)
        assert m.vm("g1").status == "unknown"
        assert c.act("g1", "start").status_code == 409
        m.host("h1").recover()
        m.advance(5)
        assert (m.vm("g1").status, m.vm("g1").host) == ("up", m.host("h1"))
        # 'Host has been rebooted' about a host that lives
        m.host("h1").cut_off()
        m.advance(61)
        assert c.fence("h1", "manual").status_code == 200
        assert m.vm("g1").status == "down"
        c.act("g1", "start")
        assert m.split_brains == ["g1 on h2 and h1"]


@pytest.mark.parametrize(
    ("profile", "word", "code", "cleared"),
    [
        ("4.4", "up", 409, False),
        ("4.4", "initializing", 409, False),
        ("4.4", "connecting", 200, False),
        ("4.4", "non_operational", 200, False),
        ("4.4", "maintenance", 200, False),
        ("4.4", "non_responsive", 200, True),
        ("4.4", "reboot", 200, True),
        ("4.4", "kdumping", 200, True),
        ("3.1", "connecting", 400, False),
        ("3.1", "reboot", 200, False),
        ("3.1", "non_responsive", 200, True),
    ],
)
def test_manual_fence_says_complete_and_may_clear_nothing(
    profile: str, word: str, code: int, cleared: bool
) -> None:
    with Manager(profile, hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "unknown", "h1")
        m.host("h1").status = word
        reply = c.fence("h1", "manual")
        assert (reply.status_code, "complete" in reply.text) == (code, code == 200)
        assert m.vm("g1").status == ("down" if cleared else "unknown")


def test_manual_fence_restarts_highly_available_vms_and_spares_the_spm() -> None:
    with Manager("4.4", hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1", high_availability=True)
        m.host("h1").die()
        m.advance(61)
        m.host("h1").is_spm = True
        assert c.fence("h1", "manual").status_code == 409
        m.world.data_center_status = "non_responsive"
        assert c.fence("h1", "manual").status_code == 200
        assert (m.vm("g1").status, m.vm("g1").host) == ("wait_for_launch", m.host("h2"))
        assert m.split_brains == []


def test_fence_needs_a_type_and_power_management() -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        reply = c.send("POST", f"/hosts/{m.host('h1').id}/fence", "<action/>")
        assert (reply.status_code, detail(reply)) == (400, "Action [fenceType] required for fence")
        reply = c.fence("h1", "status")
        assert (reply.status_code, "<status>failed</status>" in reply.text) == (200, True)
        assert c.fence("h1", "restart").status_code == 409
        m.host("h1").has_power_management = True
        assert "<status>on</status>" in c.fence("h1", "status").text


def test_power_management_rests_after_a_start_and_between_two_operations() -> None:
    with Manager("4.4", hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        m.host("h1").has_power_management = True
        assert c.fence("h1", "stop").status_code == 409  # only in maintenance
        assert c.fence("h1", "restart").status_code == 200
        assert (m.vm("g1").status, m.vm("g1").processes) == ("down", set())
        m.advance(30)
        assert m.host("h1").status == "up"
        assert "please retry in 150 Sec." in detail(c.fence("h1", "restart"))
        m.restart_engine(1, 1)
        m.advance(200)
        assert "start up sequence" in detail(c.fence("h1", "restart"))


# Time


def test_what_was_planned_is_void_once_something_else_began() -> None:
    with Manager("4.4", hosts=["h1"], vms=["g1"], scale=0) as m, Client(m) as c:
        c.act("g1", "start")
        m.advance(2)
        m.vm("g1").status = "paused"  # a test interferes
        m.advance(60)
        assert m.vm("g1").status == "paused"
        m.put("g1", "up", "h1")
        c.act("g1", "shutdown")  # down in 15 s
        c.act("g1", "shutdown")  # powered off in 2 s
        m.advance(3)
        c.act("g1", "start")
        m.advance(30)
        assert m.vm("g1").status == "up"


def test_a_stop_ends_the_boot_it_interrupts() -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", boot_s=3, stop_s=5)
        c.act("g1", "start")
        m.advance(2)
        c.act("g1", "stop")
        m.advance(4)
        assert m.vm("g1").status == "powering_up"  # it never came up
        m.advance(2)
        assert m.vm("g1").status == "down"


def test_a_long_time_passes_in_order() -> None:
    with Manager("4.4", hosts=["h1", "h2"], vms=["g1"], scale=0) as m, Client(m) as c:
        m.vm("g1").lock_images(30)
        assert "VM is locked" in detail(c.act("g1", "start"))
        m.advance(31)
        c.act("g1", "start")
        m.host("h1").die()  # while it boots there
        m.advance(1000)
        assert (m.vm("g1").status, m.host("h1").status) == ("unknown", "non_responsive")
        m.put("g1", "up", "h2")
        m.vm("g1").power_off_inside()
        assert (m.vm("g1").status, m.vm("g1").stop_reason) == ("down", "")


def test_the_clock_runs_by_itself() -> None:
    with Manager("4.4", hosts=["h1"], vms=["g1"], scale=200) as m, Client(m) as c:
        c.act("g1", "start")
        seen = set()
        for _ in range(400):
            seen.add(m.vm("g1").status)
            if "up" in seen:
                break
            m.clock.pause(0.005)
        assert "up" in seen


# The engine


def test_what_happens_during_an_outage_is_known_only_with_the_hosts_reports() -> None:
    with Manager("4.4", hosts=["h1"], vms=["g1"], scale=0) as m, Client(m) as c:
        m.add_vm("g2", "up", "h1")
        c.act("g1", "start")
        m.advance(2)
        m.restart_engine(down_s=30, deploying_s=30)
        m.vm("g2").power_off_inside()
        m.advance(62)
        assert m.host("h1").status == "connecting"
        assert (status(c.vm("g1")), status(c.vm("g2"))) == ("powering_up", "up")  # both stale
        m.advance(4)
        assert (status(c.vm("g1")), status(c.vm("g2"))) == ("up", "down")


def test_an_engine_in_maintenance_takes_no_commands() -> None:
    with Manager("4.4", hosts=["h1"], vms=["g1"], scale=0) as m, Client(m) as c:
        m.world.in_maintenance = True
        assert "Maintenance mode" in detail(c.act("g1", "start"))
        assert c.get("/vms").status_code == 200


def test_an_engine_restart_loses_sessions_and_hides_hosts_for_a_while() -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        c.get("", Prefer="persistent-auth")
        m.restart_engine(down_s=20, deploying_s=10)
        down = c.get()
        assert (down.status_code, "text/html" in down.headers["Content-Type"]) == (503, True)
        assert c.get("/ovirt-engine/services/health").status_code == 503
        m.advance(20)
        deploying = c.get(f"/vms/{m.vm('g1').id}")
        assert (deploying.status_code, deploying.content != b"") == (404, True)
        m.advance(10)
        c.session.auth = None
        assert c.get("", Prefer="persistent-auth").status_code == 401
        c.session.auth = (m.user_name, m.password)
        assert (m.host("h1").status, status(c.vm("g1"))) == ("connecting", "up")
        m.advance(5)
        assert m.host("h1").status == "up"
