"""The manager's double: what actions do and refuse, and how hosts and the engine fail."""

from __future__ import annotations

import pytest

from tests.contract.engine_client import Client, detail, host_id, status
from tests.doubles.manager import Manager

RUNS = "Cannot run VM because the VM is in {} status."
NOT_RUNNING = "[Cannot stop VM. VM is not running.]"
SAVING = "[Cannot stop VM. VM is in saving/restoring state. Please try again later.]"


def on_host(m: Manager, name: str, version: int) -> str:
    key = m.host(name).id
    host = f'<host id="{key}"/>'
    inside = host if version == 3 else f"<hosts>{host}</hosts>"
    return f"<vm><placement_policy>{inside}</placement_policy></vm>"


@pytest.mark.parametrize(
    ("profile", "version"), [("3.1", 3), ("3.6", 3), ("4.2", 3), ("4.0", 4), ("4.5", 4)]
)
def test_start_takes_its_course_on_the_host_asked_for(profile: str, version: int) -> None:
    with Manager(profile, hosts=["h1", "h2"], vms=["g1"], scale=0) as m, Client(m, version) as c:
        reply = c.act("g1", "start", on_host(m, "h2", version))
        assert reply.status_code == 200
        assert status(c.xml("/vms")[0]) == "wait_for_launch"
        assert host_id(c.vm("g1")) == m.host("h2").id
        m.advance(2)
        assert status(c.vm("g1")) == "powering_up"
        m.advance(20)
        assert status(c.vm("g1")) == "up"


def test_placement_in_the_other_versions_form_is_not_read() -> None:
    with Manager("4.2", hosts=["h1", "h2"], vms=["g1"], scale=0) as m, Client(m) as c:
        c.act("g1", "start", on_host(m, "h2", 3))  # an unknown element is ignored
        assert m.vm("g1").host is m.host("h1")
    with Manager("3.5", hosts=["h1", "h2"], vms=["g1"], scale=0) as m, Client(m) as c:
        c.act("g1", "start", on_host(m, "h2", 4))
        assert m.vm("g1").host is m.host("h1")


@pytest.mark.parametrize(
    ("profile", "word", "code", "text"),
    [
        ("4.4", "up", 409, RUNS.format("Up")),
        ("4.4", "powering_down", 409, RUNS.format("Powering Down")),
        ("4.4", "unknown", 409, RUNS.format("Unknown")),
        ("4.4", "not_responding", 409, "Cannot run VM. VM is running."),
        ("4.4", "image_illegal", 409, RUNS.format("Image Illegal")),
        (
            "4.4",
            "image_locked",
            409,
            "Cannot run VM: VM is locked. Please try again in a few minutes.",
        ),
        ("3.3", "up", 409, "Cannot run VM. VM is running."),
        ("3.2", "up", 400, "Cannot run VM. VM is running."),
    ],
)
def test_start_is_refused(profile: str, word: str, code: int, text: str) -> None:
    with Manager(profile, hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", word, "h1")
        reply = c.act("g1", "start", "<async>false</async>")
        assert (reply.status_code, detail(reply)) == (code, f"[{text}]")
        assert reply.text.count("<action>") == 1
        assert "failed" in reply.text
        assert "<async>false</async>" in reply.text
        assert m.vm("g1").status == word


def test_start_of_a_sleeping_or_paused_vm_and_what_is_in_the_way() -> None:
    with Manager("4.4", hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "suspended")
        c.act("g1", "start", on_host(m, "h2", 4))
        assert (m.vm("g1").status, m.vm("g1").host) == ("restoring_state", m.host("h2"))
        m.advance(10)
        assert m.vm("g1").status == "up"
        m.put("g1", "paused", "h2")
        c.act("g1", "start")
        assert m.vm("g1").status == "up"
        m.put("g1", "down")
        for name, value, text in (
            ("disks_locked", ["d1"], "The following disks are locked: d1"),
            ("snapshot_running", True, "performing an operation on a Snapshot"),
            ("command_running", True, "Related operation is currently in progress"),
        ):
            before = getattr(m.vm("g1"), name)
            setattr(m.vm("g1"), name, value)
            reply = c.act("g1", "start")
            assert (reply.status_code, text in detail(reply)) == (409, True)
            setattr(m.vm("g1"), name, before)
        assert c.send("POST", f"/vms/{m.host('h1').id}/start", "<action/>").status_code == 400
        assert (
            c.send("POST", f"/vms/{m.host('h1').id}/start", "<action><vm/></action>").content == b""
        )


def test_a_host_that_cannot_take_it_is_not_replaced_by_another() -> None:
    with Manager("4.4", hosts=["h1", "h2"], vms=["g1"], scale=0) as m, Client(m) as c:
        m.host("h1").free_memory_mib = 487
        reply = c.act("g1", "start", on_host(m, "h1", 4))
        assert reply.status_code == 409
        assert "The host h1 did not satisfy internal filter Memory because" in detail(reply)
        assert "487.000000 MB" in detail(reply)
        m.host("h2").status = "maintenance"
        assert "no host that satisfies" in detail(c.act("g1", "start", on_host(m, "h2", 4)))
        assert m.vm("g1").status == "down"
        m.host("h2").status = "up"
        assert c.act("g1", "start").status_code == 200
        assert m.vm("g1").host is m.host("h2")


def test_a_boot_that_fails_goes_elsewhere_unless_the_host_was_asked_for() -> None:
    with Manager("4.4", hosts=["h1", "h2"], vms=["g1"], scale=0) as m, Client(m) as c:
        m.vm("g1").boots = False
        c.act("g1", "start")
        m.advance(1.6)
        assert (m.vm("g1").status, m.vm("g1").host) == ("wait_for_launch", m.host("h2"))
        m.advance(2)
        assert m.vm("g1").status == "down"
        c.act("g1", "start", on_host(m, "h1", 4))
        m.advance(1.6)
        assert m.vm("g1").status == "down"
        assert m.split_brains == []


PAYLOADS = {
    "3.1": '<payload type="cdrom"><file name="a.conf"><content>x=1</content></file></payload>',
    "3.3": '<payload type="cdrom"><files><file><name>a.conf</name><content>x=1</content></file>'
    "</files><volume_id>VCSNETCFG</volume_id></payload>",
    "4.4": "<payload><type>cdrom</type><files><file><name>a.conf</name><content>x=1</content>"
    "</file></files><volume_id>VCSNETCFG</volume_id></payload>",
}


@pytest.mark.parametrize(
    ("profile", "form"), [("3.1", "3.1"), ("3.3", "3.3"), ("3.6", "3.3"), ("4.0", "4.4")]
)
def test_payload_in_its_own_form_is_set_by_put_only(profile: str, form: str) -> None:
    with Manager(profile, hosts=["h1"], vms=["g1"], scale=0) as m, Client(m) as c:
        body = f"<payloads>{PAYLOADS[form]}</payloads>"
        c.act("g1", "start", f"<vm>{body}</vm>")
        assert m.vm("g1").cd is None  # every engine ignores it there
        m.put("g1", "down")
        shown = c.put("g1", body)
        assert shown.status_code == 200
        assert "x=1" in shown.text
        assert "x=1" in c.get(f"/vms/{m.vm('g1').id}").text
        assert ("x=1" in c.get("/vms").text) == (profile < "3.6")
        assert "x=1" in c.get("/vms", All_Content="true").text
        c.act("g1", "start")
        cd = m.vm("g1").cd
        assert cd is not None
        assert cd.files == {"a.conf": "x=1"}
        assert cd.volume_id == ("" if profile == "3.1" else "VCSNETCFG")
        m.put("g1", "down")
        c.put("g1", "<payloads/>")
        assert (m.vm("g1").payload is None) == (profile != "3.1")


def test_payload_in_another_form_has_no_files() -> None:
    with Manager("3.6", vms=["g1"], scale=0) as m, Client(m) as c:
        c.put("g1", f"<payloads>{PAYLOADS['3.1']}</payloads>")
        payload = m.vm("g1").payload
        assert payload is not None
        assert payload.files == {}


def test_payload_limits_and_a_running_guest() -> None:
    with Manager("4.4", hosts=["h1"], vms=["g1"], scale=0) as m, Client(m) as c:
        body = f"<payloads>{PAYLOADS['4.4']}</payloads>"
        reply = c.put("g1", body.replace("x=1", "x" * 8193))
        assert (reply.status_code, detail(reply)) == (400, "[Payload is limited to 16K]")
        assert c.put("g1", body.replace("x=1", "x" * 8192)).status_code == 200
        assert c.put("g1", body.replace("VCSNETCFG", "x" * 33)).status_code == 400
        assert c.put("g1", body.replace("cdrom", "tape")).status_code == 409
        c.act("g1", "start")
        m.advance(30)
        assert c.put("g1", body).status_code == 200
        assert c.vm("g1").findtext("next_run_configuration_exists") == "true"
        cd = m.vm("g1").cd
        assert cd is not None
        assert cd.files == {"a.conf": "x" * 8192}
        c.act("g1", "stop")
        m.advance(5)
        c.act("g1", "start")
        cd = m.vm("g1").cd
        assert cd is not None
        assert cd.files == {"a.conf": "x=1"}


@pytest.mark.parametrize(
    ("word", "after"),
    [
        ("up", "powering_down"),
        ("powering_down", "down"),  # the second request is a power-off
        ("powering_up", "down"),
        ("wait_for_launch", "down"),
        ("paused", "down"),
        ("suspended", "down"),  # and the saved memory is gone
    ],
)
def test_shutdown_is_graceful_only_when_up(word: str, after: str) -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", word, "h1")
        assert c.act("g1", "shutdown").status_code == 200
        m.advance(3)
        assert m.vm("g1").status == after
        assert not m.vm("g1").has_saved_memory


def test_a_guest_that_ignores_shutdown_is_up_again_after_five_minutes() -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1", ignores_shutdown=True)
        c.act("g1", "shutdown", "<reason>VCS</reason>")
        m.advance(299)
        assert (m.vm("g1").status, m.vm("g1").stop_reason) == ("powering_down", "VCS")
        m.advance(2)
        assert m.vm("g1").status == "up"
        m.vm("g1").has_acpi = m.vm("g1").has_agent = False
        c.act("g1", "shutdown")
        m.advance(3)
        assert m.vm("g1").status == "down"


@pytest.mark.parametrize(
    ("profile", "word", "code", "text"),
    [
        ("4.4", "unknown", 409, NOT_RUNNING),
        ("4.4", "image_locked", 409, NOT_RUNNING),
        ("4.4", "unassigned", 409, NOT_RUNNING),
        ("4.4", "saving_state", 409, SAVING),
        ("4.4", "restoring_state", 409, SAVING),
        ("4.4", "down", 200, ""),
        ("3.5", "down", 200, ""),
        ("3.4", "down", 409, NOT_RUNNING),
        ("3.1", "down", 400, NOT_RUNNING),
        ("4.4", "not_responding", 200, ""),
        ("4.4", "suspended", 200, ""),
        ("4.4", "reboot_in_progress", 200, ""),
    ],
)
@pytest.mark.parametrize("verb", ["stop", "shutdown"])
def test_stop_per_status(verb: str, profile: str, word: str, code: int, text: str) -> None:
    with Manager(profile, hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", word, "h1")
        reply = c.act("g1", verb)
        assert (reply.status_code, detail(reply)) == (code, text)
        if code == 200 and word not in {"down", "suspended"}:
            assert m.vm("g1").status == word  # complete, and not down yet
        m.advance(5)
        assert m.vm("g1").status == ("down" if code == 200 else word)


def test_stop_during_a_backup_needs_force() -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1", backup_running=True)
        assert (
            detail(c.act("g1", "stop")) == "[Cannot stop VM. The VM is during a backup operation.]"
        )
        assert c.act("g1", "stop", "<force>true</force>").status_code == 200


def test_suspend_and_reboot() -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        c.act("g1", "suspend")
        assert m.vm("g1").status == "saving_state"
        m.advance(10)
        assert (m.vm("g1").status, m.vm("g1").has_saved_memory) == ("suspended", True)
        assert c.act("g1", "suspend").status_code == 409
        assert c.act("g1", "reboot").status_code == 409
        m.put("g1", "up", "h1")
        c.act("g1", "reboot")
        seen = []
        for _ in range(40):
            m.advance(1)
            seen.append(m.vm("g1").status)
        assert list(dict.fromkeys(seen)) == ["reboot_in_progress", "powering_up", "up"]
    with Manager("3.3", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        assert c.act("g1", "reboot").status_code == 404


def test_an_action_with_tasks_answers_202_and_can_be_followed() -> None:
    with Manager("4.3", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.world.async_s = 20
        m.add_vm("g1", stateless=True)
        reply = c.act("g1", "start")
        assert (reply.status_code, "in_progress" in reply.text) == (202, True)
        assert m.vm("g1").status == "image_locked"
        href = reply.text.partition('<action href="')[2].partition('"')[0]
        assert "in_progress" in c.get(href).text
        m.advance(20)
        assert "<status>complete</status>" in c.get(href).text
        assert m.vm("g1").status == "wait_for_launch"
