"""DROpts on RHEV-M: the CD that a guest boots with, in the forms of every release."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import guest_roots
from tests.contract.rhev_agent import SECRET, RhevAgent
from tests.contract.test_guest_service import service
from tests.doubles.manager import Manager, Payload

RELEASES = ("3.1", "3.3", "3.6", "4.0", "4.5")
DR = "ConfigureNetwork 1 IPAddress 192.0.2.5 Netmask 255.255.255.0 Gateway 192.0.2.1"
TEXT = (
    "Version=1\nConfigureNetwork=1\nIPAddress=192.0.2.5\nNetmask=255.255.255.0\nGateway=192.0.2.1\n"
)
FILES = {"vcs-net-reconfig.conf": TEXT}


@pytest.fixture(params=RELEASES)
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RhevAgent]:
    with Manager(request.param, hosts=["h1"], vms=["g1"], scale=10, password=SECRET) as manager:
        yield RhevAgent(tmp_path, manager)


@pytest.fixture
def one_agent(tmp_path: Path) -> Iterator[RhevAgent]:
    with Manager("4.4", hosts=["h1"], vms=["g1"], scale=10, password=SECRET) as manager:
        yield RhevAgent(tmp_path, manager)


def booted_with(agent: RhevAgent) -> dict[str, str] | None:
    """The files of the CD that the running guest sees."""
    agent.manager.advance(5)
    cd = agent.manager.vm("g1").cd
    return None if cd is None else cd.files


def label(agent: RhevAgent) -> str:
    """3.1 knows no labels."""
    return "" if agent.manager.world.profile.single_file_payload else "VCSNETCFG"


def test_the_guest_boots_with_the_cd(agent: RhevAgent) -> None:
    done = agent.run("online", DROpts=DR)
    assert done.code == 5, done.text
    assert agent.manager.commands == ["update g1", "start g1"]
    assert booted_with(agent) == FILES
    payload = agent.manager.vm("g1").payload
    assert payload is not None
    assert (payload.kind, payload.volume_id) == ("cdrom", label(agent))
    assert "the CD with the network of this site was set" in done.text


def test_the_guest_service_takes_the_cd_that_the_engine_makes(
    agent: RhevAgent, tmp_path: Path
) -> None:
    """From online's PUT through a real ISO into the guest, with nothing of ours in between."""
    assert agent.run("online", DROpts=DR).code == 5
    files = booted_with(agent)
    assert files is not None
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    image = tmp_path / "payload.iso"
    volume = ("-V", label(agent)) if label(agent) else ()  # 3.1's CD has the tool's own name
    make = ("xorriso", "-as", "mkisofs", "-quiet", *volume, "-J", "-R", "-o", image)
    subprocess.run([*make, *(tmp_path / name for name in files)], check=True)
    read = ("xorriso", "-osirrox", "on", "-indev", image, "-extract", "/", tmp_path / "mounted")
    subprocess.run(read, check=True, capture_output=True)
    guest = guest_roots.build(tmp_path / "guest", guest_roots.SCENES["networkd"])
    done = service(guest, tmp_path / "mounted")
    assert done.returncode == 0, done.stderr
    assert "applied 192.0.2.5/24 on ens2 through networkd" in done.stdout
    assert "Address=192.0.2.5/24" in guest_roots.as_text(guest)


def test_the_same_cd_is_not_written_again(agent: RhevAgent) -> None:
    agent.manager.vm("g1").payload = Payload("cdrom", dict(FILES), label(agent))
    assert agent.run("online", DROpts=DR).code == 5
    assert agent.manager.commands == ["start g1"]
    assert booted_with(agent) == FILES


def test_another_site_replaces_it(agent: RhevAgent) -> None:
    old = {"vcs-net-reconfig.conf": TEXT.replace("192.0.2", "198.51.100")}
    agent.manager.vm("g1").payload = Payload("cdrom", old, label(agent))
    assert agent.run("online", DROpts=DR).code == 5
    assert booted_with(agent) == FILES


def test_it_is_removed_when_it_is_not_due(agent: RhevAgent) -> None:
    agent.manager.vm("g1").payload = Payload("cdrom", dict(FILES), label(agent))
    done = agent.run("online")
    if agent.manager.world.profile.single_file_payload:
        assert done.code == 0
        assert "clear the VM's payload by hand" in done.text
        assert agent.manager.vm("g1").status == "down"
        return
    assert done.code == 5, done.text
    assert booted_with(agent) is None


@pytest.mark.parametrize("dr_opts", [DR, ""])
def test_a_payload_of_somebody_else_stays(one_agent: RhevAgent, dr_opts: str) -> None:
    theirs = {"user-data": "x"}
    one_agent.manager.vm("g1").payload = Payload("cdrom", theirs, "cidata")
    done = one_agent.run("online", limit_s=20, **({"DROpts": dr_opts} if dr_opts else {}))
    payload = one_agent.manager.vm("g1").payload
    assert payload is not None
    assert payload.files == theirs
    if dr_opts:
        assert done.code == 0
        assert "the VM has another payload (cidata: user-data)" in done.text
        assert one_agent.manager.vm("g1").status == "down"
    else:
        assert done.code == 5


@pytest.mark.parametrize(
    "dr_opts",
    [
        "ConfigureNetwork 1",
        "ConfigureNetwork 1 IPAddress 192.0.2.5",
        "ConfigureNetwork 1 IPAddress 300.0.0.1 Netmask 255.255.255.0",
        "ConfigureNetwork 1 IPAddress 192.0.2.5 Netmask 255.255.255.0 Gateway 198.51.100.1",
    ],
)
def test_with_wrong_parameters_the_guest_stays_down(one_agent: RhevAgent, dr_opts: str) -> None:
    done = one_agent.run("online", DROpts=dr_opts)
    assert done.code == 0
    assert done.severities == ["E"]
    assert "DROpts" in done.text
    assert one_agent.manager.commands == []
    assert one_agent.manager.vm("g1").status == "down"


def test_a_suspended_vm_goes_on_with_the_network_it_had(one_agent: RhevAgent) -> None:
    one_agent.manager.vm("g1").status = "suspended"
    one_agent.manager.vm("g1").has_saved_memory = True
    done = one_agent.run("online", DROpts=DR)
    assert done.code == 5, done.text
    assert one_agent.manager.commands == ["start g1"]
    assert "it was suspended, so it goes on with the network it had" in done.text


def test_a_suspended_vm_is_not_resumed_with_wrong_parameters(one_agent: RhevAgent) -> None:
    one_agent.manager.vm("g1").status = "suspended"
    done = one_agent.run("online", DROpts="ConfigureNetwork 1 IPAddress 192.0.2.5")
    assert "DROpts Netmask" in done.text
    assert one_agent.manager.commands == []


@pytest.mark.parametrize("kind", ["500", "403", "lost", "hang"])
def test_without_its_cd_the_guest_stays_down(one_agent: RhevAgent, kind: str) -> None:
    with one_agent.manager.fault(kind, method="PUT"):
        done = one_agent.run("online", DROpts=DR, limit_s=8)
    assert done.code == 0
    assert "the CD for DROpts cannot be set" in done.text
    assert one_agent.manager.commands == ["update g1"]
    assert one_agent.manager.vm("g1").status == "down"


def test_a_cd_that_cannot_be_set_yet_is_tried_again(agent: RhevAgent) -> None:
    vm = agent.manager.vm("g1")
    vm.command_running = True

    def finish() -> None:
        vm.command_running = False

    timer = threading.Timer(1.5, finish)
    timer.start()
    done = agent.run("online", DROpts=DR)
    timer.join()
    assert done.code == 5, done.text
    assert booted_with(agent) == FILES


def test_a_user_who_may_not_edit_the_vm(one_agent: RhevAgent) -> None:
    one_agent.manager.user("admin@internal").role = "ReadOnlyAdmin"
    done = one_agent.run("online", DROpts=DR)
    assert "give admin@internal the role ClusterAdmin" in done.text
    assert one_agent.manager.vm("g1").status == "down"
