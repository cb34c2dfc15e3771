"""monitor on RHEV-M: every status on every kind of host, and what one call costs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.contract.rhev_agent import SECRET, RhevAgent
from tests.doubles.manager import Manager

GENERATIONS = ("3.6", "4.4")

# Written down from the vendor's table and the design, not taken from states_rhev.
HERE = {
    "wait_for_launch": 101,
    "powering_up": 106,
    "up": 110,
    "powering_down": 104,
    "paused": 102,
    "restoring_state": 105,
    "saving_state": 200,
    "migrating": 200,
    "reboot_in_progress": 200,
    "unknown": 99,
    "not_responding": 99,
    "unassigned": 99,
    "powered_down": 99,
    "levitating": 99,
}
WITHOUT_HOST = {
    "down": 100,
    "suspended": 200,
    "image_locked": 99,
    "image_illegal": 99,  # shown without any status
    "unknown": 99,
    "migrating": 200,
}
ELSEWHERE = {
    **dict.fromkeys(
        (
            "wait_for_launch",
            "powering_up",
            "up",
            "powering_down",
            "paused",
            "restoring_state",
            "saving_state",
            "migrating",
            "reboot_in_progress",
        ),
        200,
    ),
    "unknown": 100,
    "not_responding": 100,
    "unassigned": 99,
    "powered_down": 99,
    "levitating": 99,
}
CASES = [
    *((status, "h1", code) for status, code in HERE.items()),
    *((status, "h2", code) for status, code in ELSEWHERE.items()),
    *((status, "", code) for status, code in WITHOUT_HOST.items()),
]


@pytest.fixture(scope="module", params=GENERATIONS)
def agent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RhevAgent]:
    with Manager(
        request.param, hosts=["h1", "h2"], vms=["g1"], scale=0, password=SECRET
    ) as manager:
        yield RhevAgent(tmp_path_factory.mktemp("node"), manager)


@pytest.mark.parametrize(("status", "host", "code"), CASES)
def test_every_status_on_every_place(agent: RhevAgent, status: str, host: str, code: int) -> None:
    agent.manager.put("g1", status, host)
    done = agent.fresh_monitor()
    assert done.code == code, done.text
    assert f"RHEV-M: {'no status' if status == 'image_illegal' else status}" in done.text
    if host == "h2" and code != 99:
        assert "on h2" in done.text


@pytest.mark.parametrize("status", [s for s in HERE if s not in {"unknown", "migrating"}])
def test_a_running_status_without_a_host_names_the_missing_role(
    agent: RhevAgent, status: str
) -> None:
    agent.manager.put("g1", status, "h1")
    with agent.manager.fault("no_host", path="/vms/"):
        done = agent.fresh_monitor()
    assert done.code == 99
    if status not in {"unassigned", "powered_down", "levitating", "not_responding"}:
        assert "give it the role ClusterAdmin" in done.text


@pytest.mark.parametrize("host", ["h1", "h2", ""])
def test_a_missing_status_is_not_offline(agent: RhevAgent, host: str) -> None:
    agent.manager.put("g1", "up" if host else "down", host)
    with agent.manager.fault("no_status", path="/vms"):
        done = agent.fresh_monitor()
    assert done.code == 99
    assert "no status" in done.text


@pytest.mark.parametrize(
    ("detail", "text"),
    [("eio", "mend the guest's storage"), ("none", "ONLINE, confidence 20"), ("", "ONLINE")],
)
def test_a_pause_tells_its_reason(agent: RhevAgent, detail: str, text: str) -> None:
    vm = agent.manager.put("g1", "paused", "h1")
    vm.status_detail = detail
    done = agent.fresh_monitor()
    vm.status_detail = ""
    assert done.code == 102
    assert text in done.text
    assert done.severities == (["W"] if detail == "eio" else ["I"])


@pytest.mark.parametrize(("status", "host", "code"), [("up", "h1", 110), ("up", "h2", 200)])
def test_in_steady_state_one_request_and_no_login(
    agent: RhevAgent, status: str, host: str, code: int
) -> None:
    agent.manager.put("g1", status, host)
    agent.fresh_monitor()
    agent.manager.forget_requests()
    agent.home.forget()
    for _ in range(3):
        assert agent.monitor().code == code
    assert [record.method for record in agent.manager.requests] == ["GET"] * 3
    assert {record.path for record in agent.manager.requests} == {
        f"{agent.manager.path}/vms/{agent.manager.vm('g1').id}"
    }
    assert agent.manager.logins == 0
    assert agent.home.calls() == []  # nothing decrypted, nothing logged again


def test_a_host_that_cannot_be_identified_is_unknown_only_where_it_matters(
    agent: RhevAgent,
) -> None:
    hosts, agent.options["hosts"] = agent.options["hosts"], {}
    agent.manager.put("g1", "up", "h1")
    done = agent.fresh_monitor()
    agent.manager.put("g1", "down")
    down = agent.fresh_monitor()
    agent.options["hosts"] = hosts
    assert done.code == 99
    assert "name it in [hosts]" in done.text
    assert "h1, h2" in done.text
    assert down.code == 100


def loaded(command: list[str], env: dict[str, str]) -> set[str]:
    """The modules that a call imports."""
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", "-X", "importtime", *command],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_each_kind_of_monitor_loads_only_its_own(agent: RhevAgent) -> None:
    agent.fresh_monitor()
    command = agent.command("monitor")
    rhev = loaded(command, agent.env)
    assert rhev >= {"lxml.etree", "ssl", "kvmguest.rhev.backend"}
    assert not rhev & {"libvirt", "requests", "urllib3", "subprocess", "json", "kvmguest.virsh"}
    kvm = loaded([word if word != "RHEVMInfo" else "X" for word in command], agent.env)
    assert "kvmguest.virsh" in kvm
    assert not kvm & {"lxml", "lxml.etree", "ssl", "http.client", "requests", "kvmguest.rhev"}


def test_nothing_was_ever_ordered(agent: RhevAgent) -> None:
    """Last of the module: monitor only looks."""
    assert agent.manager.commands == []
