"""offline, clean and migrate on RHEV-M, and the traps of its API."""

from __future__ import annotations

import threading
import time

import pytest

from tests.contract.rhev_agent import (
    RhevAgent,
    fixtures,
    node,
)

agent, one_agent = fixtures(node)


# offline


def test_offline_asks_once_and_waits(agent: RhevAgent) -> None:
    vm = agent.manager.put("g1", "up", "h1")
    vm.shutdown_s = 20.0
    done = agent.run("offline", DelayAfterGuestOffline="8", limit_s=30)
    assert done.code == 0
    assert "shut down; g1: RHEV-M: down: OFFLINE" in done.text
    assert done.seconds < 8
    assert agent.manager.commands == ["shutdown g1"]


def test_offline_never_asks_twice(agent: RhevAgent) -> None:
    """A second shutdown would be a power-off."""
    vm = agent.manager.put("g1", "up", "h1")
    vm.ignores_shutdown = True
    agent.manager.clock.scale = 1
    done = agent.run("offline", DelayAfterGuestOffline="2", limit_s=20)
    assert "not down 2 s after the first request; g1: RHEV-M: powering_down" in done.text
    again = agent.run("offline", DelayAfterGuestOffline="1", limit_s=20)
    assert "powering_down" in again.text
    assert agent.manager.commands == ["shutdown g1"]
    assert agent.manager.vm("g1").processes


def test_offline_of_a_guest_that_refuses(one_agent: RhevAgent) -> None:
    vm = one_agent.manager.put("g1", "up", "h1")
    vm.ignores_shutdown = True
    one_agent.manager.clock.scale = 100
    done = one_agent.run("offline", DelayAfterGuestOffline="8", limit_s=30)
    assert "it went back to up, so the guest refused" in done.text
    assert one_agent.manager.commands == ["shutdown g1"]
    assert vm.processes


@pytest.mark.parametrize("status", ["powering_up", "wait_for_launch", "reboot_in_progress"])
def test_offline_never_powers_a_booting_guest_off(one_agent: RhevAgent, status: str) -> None:
    one_agent.manager.clock.scale = 0
    one_agent.manager.put("g1", status, "h1")
    done = one_agent.run("offline", DelayAfterGuestOffline="1", limit_s=20)
    assert f"not asked to shut down: it is {status}" in done.text
    assert one_agent.manager.commands == []


def test_offline_waits_for_a_booting_guest(one_agent: RhevAgent) -> None:
    vm = one_agent.manager.put("g1", "powering_up", "h1")
    vm.shutdown_s = 10

    def boot() -> None:
        vm.status = "up"

    timer = threading.Timer(1.5, boot)
    timer.start()
    done = one_agent.run("offline", DelayAfterGuestOffline="12", limit_s=30)
    timer.join()
    assert "shut down" in done.text
    assert one_agent.manager.commands == ["shutdown g1"]


def test_offline_resumes_a_paused_guest_first(one_agent: RhevAgent) -> None:
    one_agent.manager.put("g1", "paused", "h1").shutdown_s = 10
    done = one_agent.run("offline", DelayAfterGuestOffline="10", limit_s=30)
    assert "shut down" in done.text
    assert one_agent.manager.commands == ["start g1", "shutdown g1"]


@pytest.mark.parametrize(
    ("status", "host"), [("down", ""), ("suspended", ""), ("up", "h2"), ("unknown", "h2")]
)
@pytest.mark.parametrize("verb", ["offline", "clean"])
def test_what_does_not_run_here_is_left_alone(
    agent: RhevAgent, verb: str, status: str, host: str
) -> None:
    agent.manager.clock.scale = 0
    agent.manager.put("g1", status, host)
    assert agent.run(verb, *["1"] * (verb == "clean")).code == 0
    assert agent.manager.commands == []
    assert agent.manager.vm("g1").status == status


# clean


@pytest.mark.parametrize(
    "status",
    [
        "up",
        "powering_up",
        "powering_down",
        "wait_for_launch",
        "paused",
        "reboot_in_progress",
        "not_responding",
    ],
)
def test_clean_stops_what_runs_here(agent: RhevAgent, status: str) -> None:
    agent.manager.put("g1", status, "h1")
    done = agent.run("clean", "1", limit_s=20)
    assert done.code == 0, done.text
    assert agent.manager.commands == ["stop g1"]
    assert agent.manager.vm("g1").status == "down"


@pytest.mark.parametrize(
    ("status", "host"),
    [("unknown", "h1"), ("unknown", ""), ("image_locked", ""), ("image_illegal", "")],
)
def test_clean_claims_nothing_it_cannot_see(agent: RhevAgent, status: str, host: str) -> None:
    agent.manager.clock.scale = 0
    agent.manager.put("g1", status, host)
    done = agent.run("clean", "1", limit_s=6)
    assert done.code == 1, done.text
    assert agent.manager.commands == []


def test_clean_does_not_believe_a_409(one_agent: RhevAgent) -> None:
    """RHEV-M says "VM is not running" of a VM it lost sight of between look and stop."""
    one_agent.manager.clock.scale = 0
    vm = one_agent.manager.put("g1", "up", "h1")
    with one_agent.manager.fault("slow", path="/stop", pause_s=1.0):
        process = one_agent.start("clean", "1", limit_s=10)
        while not one_agent.manager.commands:
            time.sleep(0.01)
        vm.status = "unknown"
        assert process.wait(20) == 1
        process.communicate()


def test_clean_keeps_a_saved_guests_memory(agent: RhevAgent) -> None:
    """saving_state is waited for; then there is nothing to stop."""
    vm = agent.manager.put("g1", "up", "h1")
    vm.status = "saving_state"

    def saved() -> None:
        agent.manager.put("g1", "suspended")

    timer = threading.Timer(1.5, saved)
    timer.start()
    done = agent.run("clean", "1", limit_s=20)
    timer.join()
    assert done.code == 0, done.text
    assert agent.manager.commands == []
    assert vm.has_saved_memory


def test_clean_does_not_stop_a_guest_that_is_migrating(agent: RhevAgent) -> None:
    vm = agent.manager.put("g1", "migrating", "h1")

    def arrive() -> None:
        agent.manager.put("g1", "up", "h2")

    timer = threading.Timer(1.5, arrive)
    timer.start()
    done = agent.run("clean", "4", limit_s=20)
    timer.join()
    assert done.code == 0, done.text
    assert agent.manager.commands == []
    assert vm.processes


@pytest.mark.parametrize("kind", ["hang", "503", "401", "truncated"])
def test_clean_fails_when_rhevm_cannot_be_asked(one_agent: RhevAgent, kind: str) -> None:
    one_agent.manager.put("g1", "up", "h1")
    with one_agent.manager.fault(kind, path="/vms"):
        done = one_agent.run("clean", "1", limit_s=6)
    assert done.code == 1
    assert one_agent.manager.commands == []


def test_clean_whose_answer_was_lost_looks_again(agent: RhevAgent) -> None:
    agent.manager.put("g1", "up", "h1")
    with agent.manager.fault("lost", path="/stop", times=1):
        done = agent.run("clean", "1", limit_s=20)
    assert done.code == 0, done.text
    assert agent.manager.commands == ["stop g1"]


# migrate


def migrate(
    agent: RhevAgent, target: str = "TargetHost NodeTwo", limit_s: int = 30
) -> tuple[int, str]:
    done = agent.run("migrate", limit_s=limit_s, VCSInfo=target)
    return done.code, done.text


@pytest.mark.parametrize("target", ["TargetHost NodeTwo", "TargetHost=NodeTwo", "NodeTwo", "h2"])
def test_migrate_moves_the_guest(agent: RhevAgent, target: str) -> None:
    agent.manager.put("g1", "up", "h1")
    agent.manager.clock.scale = 20
    code, text = migrate(agent, target)
    assert code == 0, text
    assert agent.manager.commands == ["migrate g1"]
    assert "RHEV-M migrates it from h1 to h2" in text
    assert "up on h2 after" in text
    host = agent.manager.vm("g1").host
    assert host is not None
    assert host.name == "h2"


def test_migrate_of_a_guest_that_only_moves_by_hand(agent: RhevAgent) -> None:
    agent.manager.put("g1", "up", "h1").affinity = "user_migratable"
    agent.manager.clock.scale = 20
    assert migrate(agent)[0] == 0


@pytest.mark.parametrize(
    ("change", "target", "text"),
    [
        ("pinned", "NodeTwo", "it is pinned to its host"),
        ("", "nowhere", "nowhere is no host of this guest's cluster"),
        ("", "h1", "it runs on h1 already"),
        ("other cluster", "h3", "h3 is no host of this guest's cluster"),
        ("maintenance", "NodeTwo", "h2 is maintenance in RHEV-M, not up"),
        ("memory", "NodeTwo", "its available memory is too low"),
        ("down", "NodeTwo", "Only a guest that is up can move"),
        ("elsewhere", "NodeTwo", "INTENTIONAL OFFLINE"),
        ("booting", "NodeTwo", "it is powering_up, and only a guest that is up is migrated"),
        ("dr", "h3", "a guest for disaster recovery never leaves its site"),
        ("twins", "twin", "twin is more than one host"),
    ],
)
def test_migrate_refuses(one_agent: RhevAgent, change: str, target: str, text: str) -> None:
    manager = one_agent.manager
    manager.clock.scale = 0
    vm = manager.put("g1", "up", "h1")
    manager.add_host("h3", cluster="c2")
    tuples: dict[str, str] = {}
    if change == "pinned":
        vm.affinity = "pinned"
    elif change == "maintenance":
        manager.host("h2").status = "maintenance"
    elif change == "memory":
        manager.host("h2").free_memory_mib = 1
    elif change == "down":
        manager.put("g1", "down")
    elif change == "elsewhere":
        manager.put("g1", "up", "h2")
    elif change == "booting":
        manager.put("g1", "powering_up", "h1")
    elif change == "dr":
        tuples["DROpts"] = (
            "ConfigureNetwork 1 IPAddress 192.0.2.5 Netmask 255.255.255.0 Gateway 192.0.2.1"
        )
    elif change == "twins":
        manager.add_host("twin.a.test")
        manager.add_host("twin.b.test")
    tuples["VCSInfo"] = f"TargetHost {target}"
    done = one_agent.run("migrate", limit_s=20, **tuples)
    assert done.code == 255
    assert text in done.text or change == "down"
    assert manager.commands == ["migrate g1"] * (change == "memory")


def test_migrate_that_fails_is_seen(one_agent: RhevAgent) -> None:
    one_agent.manager.put("g1", "up", "h1").migration_fails = True
    one_agent.manager.clock.scale = 5
    code, text = migrate(one_agent)
    assert code == 255
    assert "RHEV-M ended the migration, the guest is up on h1" in text


def test_migrate_is_called_off_before_the_limit(agent: RhevAgent) -> None:
    agent.manager.put("g1", "up", "h1").migrate_s = 10_000
    agent.manager.clock.scale = 2
    code, text = migrate(agent, limit_s=16)
    assert code == 255
    assert "calling it off" in text
    assert "it took too long and was called off" in text
    assert agent.manager.commands == ["migrate g1", "cancelmigration g1"]
    assert agent.manager.vm("g1").status == "up"


def test_migrate_survives_an_engine_restart(one_agent: RhevAgent) -> None:
    one_agent.manager.put("g1", "up", "h1").migrate_s = 3
    one_agent.manager.clock.scale = 1
    process = one_agent.start("migrate", limit_s=40, VCSInfo="NodeTwo")
    while not one_agent.manager.commands:
        time.sleep(0.05)
    one_agent.manager.restart_engine(down_s=1, deploying_s=1)
    assert process.wait(40) == 0
    process.communicate()
