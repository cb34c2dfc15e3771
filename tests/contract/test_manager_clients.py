"""The manager's double, judged by clients that nobody here wrote: ovirtsdk4 and fence_rhevm."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import ovirtsdk4  # type: ignore[import-untyped]
import pytest
from ovirtsdk4 import types

from tests.doubles.manager import Manager

V4 = ("4.0", "4.1", "4.2", "4.3", "4.4", "4.5")


@contextlib.contextmanager
def connected(m: Manager, **changes: str) -> Iterator[ovirtsdk4.Connection]:
    arguments = {
        "url": m.url,
        "username": m.user_name,
        "password": m.password,
        "ca_file": m.ca_file,
        **changes,
    }
    connection = ovirtsdk4.Connection(**arguments)
    try:
        yield connection
    finally:
        connection.close()


def vm_service(connection: ovirtsdk4.Connection, name: str) -> ovirtsdk4.services.VmService:
    vms = connection.system_service().vms_service()
    (vm,) = vms.list(search=f'name="{name}"')
    assert vm.name == name
    return vms.vm_service(vm.id)


@pytest.mark.parametrize("profile", V4)
def test_sdk_runs_a_life(profile: str) -> None:
    with Manager(profile, hosts=["h1", "h2"], vms=["g1", "g2"], scale=0) as m:
        with connected(m) as connection:
            assert connection.test()
            service = vm_service(connection, "g1")
            assert service.get().status == types.VmStatus.DOWN
            file = types.File(name="net.conf", content="IPAddress=10.0.0.5\nName=<&>\n")
            payload = types.Payload(
                type=types.VmDeviceType.CDROM, files=[file], volume_id="VCSNETCFG"
            )
            service.update(types.Vm(payloads=[payload]))
            (shown,) = service.get().payloads
            assert (shown.volume_id, shown.files[0].content) == (
                "VCSNETCFG",
                file.content.strip("\n") + "\n",
            )

            target = types.VmPlacementPolicy(hosts=[types.Host(id=m.host("h2").id)])
            service.start(vm=types.Vm(placement_policy=target))
            vm = service.get()
            assert (vm.status, vm.host.id) == (types.VmStatus.WAIT_FOR_LAUNCH, m.host("h2").id)
            assert vm.run_once
            m.advance(30)
            assert service.get().status == types.VmStatus.UP

            service.migrate(host=types.Host(name="h1"))
            assert service.get().status == types.VmStatus.MIGRATING
            m.advance(8)
            shown = {s.name: s.values[0].datum for s in service.statistics_service().list()}
            assert shown["migration.progress"] == 40
            m.advance(30)
            vm = service.get()
            assert (vm.status, vm.host.id) == (types.VmStatus.UP, m.host("h1").id)

            service.shutdown()
            assert service.get().status == types.VmStatus.POWERING_DOWN
            m.advance(30)
            assert service.get().status == types.VmStatus.DOWN
            assert service.get().host is None
            service.start()
            m.advance(30)
            service.stop()
            m.advance(30)
            assert service.get().status == types.VmStatus.DOWN
        assert m.logins == 1
        assert m.requests[0].path == "/ovirt-engine/sso/oauth/token"
        assert m.requests[-1].path == "/ovirt-engine/services/sso-logout"
        assert m.accounts.open_sessions == 0


def test_sdk_reads_hosts_clusters_and_affinity() -> None:
    with Manager("4.4", hosts=["h1", "h2"], vms=["g1", "g2"], scale=0) as m, connected(m) as c:
        m.add_affinity_group("apart", ["g1", "g2"], positive=False)
        m.put("g1", "up", "h1")
        m.vm("g1").affinity = "user_migratable"
        system = c.system_service()
        (host,) = system.hosts_service().list(search=f"hw_id={m.host('h2').vdsm_id}")
        assert (host.name, host.status, host.address) == (
            "h2",
            types.HostStatus.UP,
            "h2.example.test",
        )
        assert host.hardware_information.uuid == m.host("h2").hardware_uuid
        assert host.spm.status == types.SpmStatus.NONE
        (cluster,) = system.clusters_service().list(search="name=C1")
        assert host.cluster.id == cluster.id
        groups = system.clusters_service().cluster_service(cluster.id).affinity_groups_service()
        (group,) = groups.list()
        assert (group.name, group.positive, group.enforcing) == ("apart", False, True)
        assert {vm.id for vm in group.vms} == {m.vm("g1").id, m.vm("g2").id}
        service = vm_service(c, "g1")
        assert service.get().placement_policy.affinity == types.VmAffinity.USER_MIGRATABLE
        with pytest.raises(ovirtsdk4.Error, match="did not specify the force-migration flag"):
            service.migrate(host=types.Host(id=host.id))
        service.migrate(host=types.Host(id=host.id), force=True)
        m.advance(30)
        assert m.vm("g1").host is m.host("h2")
        policy = types.VmPlacementPolicy(hosts=[types.Host(id=host.id)])
        other = vm_service(c, "g2")
        with pytest.raises(ovirtsdk4.Error, match="negative affinity"):
            other.start(vm=types.Vm(placement_policy=policy))


def test_sdk_sees_refusals_as_errors() -> None:
    with Manager("4.5", hosts=["h1"], vms=["g1"], scale=0) as m:
        with connected(m) as c:
            service = vm_service(c, "g1")
            m.put("g1", "unknown", "h1")
            with pytest.raises(ovirtsdk4.Error, match="VM is not running") as caught:
                service.stop()
            assert caught.value.code == 409
            gone = c.system_service().vms_service().vm_service(m.host("h1").id)
            with pytest.raises(ovirtsdk4.NotFoundError):
                gone.get()
            m.forget_sessions()
            assert service.get().name == "g1"  # one silent re-login
            assert m.logins == 2
        with connected(m, password="wrong") as c:
            root = c.system_service()
            with pytest.raises(ovirtsdk4.AuthError, match="access_denied"):
                root.get()
        m.add_user("joe@internal", "joe", "UserRole")
        with connected(m, username="joe@internal", password="joe") as c:
            assert vm_service(c, "g1").get().host is None
            service = vm_service(c, "g1")
            with pytest.raises(ovirtsdk4.AuthError, match="not authorized"):
                service.migrate()


def test_sdk_confirms_a_dead_host() -> None:
    with Manager("4.4", hosts=["h1", "h2"], scale=0) as m, connected(m) as c:
        m.add_vm("g1", "up", "h1")
        host = c.system_service().hosts_service().host_service(m.host("h1").id)
        m.host("h1").die()
        assert host.get().status == types.HostStatus.CONNECTING
        host.fence(fence_type="manual")
        assert m.vm("g1").status == "up"  # complete, and nothing was cleared
        m.advance(61)
        assert host.get().status == types.HostStatus.NON_RESPONSIVE
        assert vm_service(c, "g1").get().status == types.VmStatus.UNKNOWN
        host.fence(fence_type="manual")
        assert vm_service(c, "g1").get().status == types.VmStatus.DOWN
        vm_service(c, "g1").start()
        assert m.vm("g1").host is m.host("h2")
        assert m.split_brains == []


def test_sdk_waits_for_a_task_of_the_engine() -> None:
    with Manager("4.4", hosts=["h1"], scale=100) as m, connected(m) as c:
        m.world.async_s = 20.0
        m.add_vm("g1", stateless=True)
        service = vm_service(c, "g1")
        service.start(async_=False)
        assert m.vm("g1").status in {"wait_for_launch", "powering_up", "up"}


def fence(m: Manager, action: str, *options: str, plug: str = "g1") -> tuple[int, str]:
    """Debian's fence agent, with its certificate check off: it takes no CA file."""
    done = subprocess.run(
        [
            "/usr/sbin/fence_rhevm",
            *("--ip", "127.0.0.1", "--ipport", str(m.port), "--ssl-insecure"),
            *("--username", m.user_name, "--password", m.password),
            *("--plug", plug, "--action", action, "--power-wait", "0", *options),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


API = (
    ("3.3", ("--api-version", "3", "--api-path", "/api")),
    ("3.6", ("--api-version", "3")),
    ("4.3", ("--api-version", "3")),
    ("4.0", ("--api-version", "4")),
    ("4.4", ("--api-version", "4")),
    ("4.4", ("--api-version", "auto", "--use-cookies")),
)


@pytest.mark.parametrize(("profile", "options"), API)
def test_fence_agent_over_both_versions(profile: str, options: tuple[str, ...]) -> None:
    with Manager(profile, hosts=["h1"], vms=["g1"], scale=20) as m:
        assert fence(m, "status", *options) == (2, "Status: OFF\n")
        assert fence(m, "on", *options) == (0, "Success: Powered ON\n")
        assert m.vm("g1").status in {"wait_for_launch", "powering_up", "up"}
        assert fence(m, "status", *options) == (0, "Status: ON\n")
        assert fence(m, "off", *options) == (0, "Success: Powered OFF\n")
        assert m.vm("g1").status == "down"
        assert m.commands == ["start g1", "stop g1"]
        code, text = fence(m, "list", *options)
        assert (code, text.strip()) == (0, "g1,")


def test_fence_agent_finds_the_wrong_vm_with_an_old_filter() -> None:
    """Up to 3.5 a filtered request ignores search, and the agent takes the first row."""
    with Manager("3.5", hosts=["h1"], vms=["a-first", "g1"], scale=0) as m:
        m.put("a-first", "up", "h1")
        assert fence(m, "status", "--api-version", "3")[1] == "Status: ON\n"
        unfiltered = ("--api-version", "3", "--disable-http-filter")
        assert fence(m, "status", *unfiltered)[1] == "Status: OFF\n"


def test_fence_agent_calls_a_vm_without_status_off() -> None:
    with Manager("4.4", vms=["g1"], scale=0) as m:
        m.vm("g1").status = "image_illegal"
        assert fence(m, "status", "--api-version", "4") == (2, "Status: OFF\n")


def test_fence_agent_sees_a_wrong_password_as_a_missing_vm() -> None:
    with Manager("4.4", vms=["g1"], scale=0) as m:
        m.user(m.user_name).password = "changed"
        code, text = fence(m, "status")
        assert code == 1
        assert "UUID" in text
        assert {record.status for record in m.requests} == {401, 405}  # it tried version 3, too


def test_fence_agent_checks_the_certificate_when_told_to() -> None:
    with Manager("4.4", vms=["g1"], scale=0) as m:
        code, text = fence(m, "status", "--ssl-secure")
        assert code == 1
        assert "certificate" in text.lower()
        assert m.requests == []  # no password went out
