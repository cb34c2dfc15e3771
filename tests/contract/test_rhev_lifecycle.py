"""online, offline, clean and migrate on RHEV-M, over both API generations."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.rhev_agent import SECRET, RhevAgent
from tests.doubles.manager import Manager

GENERATIONS = ("3.6", "4.4")


def node(tmp_path: Path, profile: str, scale: float = 10.0) -> Iterator[RhevAgent]:
    with Manager(profile, hosts=["h1", "h2"], vms=["g1"], scale=scale, password=SECRET) as manager:
        agent = RhevAgent(tmp_path, manager)
        yield agent
        assert manager.split_brains == []
        assert agent.secrets_found() == []


@pytest.fixture(params=GENERATIONS)
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RhevAgent]:
    yield from node(tmp_path, request.param)


@pytest.fixture
def one_agent(tmp_path: Path) -> Iterator[RhevAgent]:
    yield from node(tmp_path, "4.4")


# online


def test_online_starts_on_this_host_and_nowhere_else(agent: RhevAgent) -> None:
    done = agent.run("online", DelayAfterGuestOnline="7")
    assert done.code == 7  # the seconds VCS waits before its first monitor
    assert agent.manager.commands == ["start g1"]
    host = agent.manager.vm("g1").host
    assert host is not None
    assert host.name == "h1"
    assert "start done; g1: RHEV-M: " in done.text
    assert agent.run("online").code == 0
    assert agent.manager.commands == ["start g1"]


def test_online_says_why_rhevm_refuses(agent: RhevAgent) -> None:
    agent.manager.host("h1").free_memory_mib = 10
    done = agent.run("online")
    assert done.code == 0
    assert "its available memory is too low" in done.text
    assert agent.manager.vm("g1").status == "down"  # not on h2 either


def test_online_of_a_guest_elsewhere_says_where(agent: RhevAgent) -> None:
    agent.manager.put("g1", "up", "h2")
    done = agent.run("online")
    assert done.code == 0
    assert "it is up on h2, which RHEV-M calls up" in done.text
    assert agent.manager.commands == []


@pytest.mark.parametrize("status", ["up", "powering_up", "wait_for_launch", "reboot_in_progress"])
def test_online_of_a_running_guest_does_nothing(one_agent: RhevAgent, status: str) -> None:
    one_agent.manager.clock.scale = 0
    one_agent.manager.put("g1", status, "h1")
    done = one_agent.run("online")
    assert "It runs already" in done.text
    assert one_agent.manager.commands == []


@pytest.mark.parametrize(
    ("status", "host"),
    [("unknown", "h1"), ("not_responding", "h1"), ("unassigned", "h1"), ("powered_down", "")],
)
def test_online_refuses_on_a_doubt(one_agent: RhevAgent, status: str, host: str) -> None:
    one_agent.manager.clock.scale = 0
    one_agent.manager.put("g1", status, host)
    done = one_agent.run("online")
    assert done.code == 0
    assert "Not started from this state" in done.text
    assert one_agent.manager.commands == []


def test_online_resumes_a_suspended_guest_here(agent: RhevAgent) -> None:
    vm = agent.manager.put("g1", "suspended")
    done = agent.run("online")
    assert done.code == 5, done.text
    assert vm.host is not None
    assert vm.host.name == "h1"


def test_online_lets_a_paused_guest_go_on(agent: RhevAgent) -> None:
    agent.manager.put("g1", "paused", "h1")
    assert agent.run("online").code == 5
    assert agent.manager.vm("g1").status == "up"


def test_online_waits_for_locked_images(agent: RhevAgent) -> None:
    vm = agent.manager.put("g1", "image_locked")

    def unlock() -> None:
        vm.status = "down"

    timer = threading.Timer(1.5, unlock)
    timer.start()
    done = agent.run("online", limit_s=14)
    timer.join()
    assert done.code == 5, done.text


def test_online_tries_again_where_rhevm_says_so(agent: RhevAgent) -> None:
    vm = agent.manager.vm("g1")
    vm.disks_locked = ["d1"]
    timer = threading.Timer(1.5, vm.disks_locked.clear)
    timer.start()
    done = agent.run("online", limit_s=20)
    timer.join()
    assert done.code == 5, done.text
    assert len(agent.manager.commands) > 1


def test_online_waits_for_a_start_that_is_accepted_later(one_agent: RhevAgent) -> None:
    one_agent.manager.world.async_s = 20.0
    one_agent.manager.vm("g1").stateless = True
    done = one_agent.run("online", limit_s=20)
    assert done.code == 5, done.text


def test_online_warns_of_high_availability(one_agent: RhevAgent) -> None:
    one_agent.manager.vm("g1").high_availability = True
    assert "behind VCS's back; switch that off" in one_agent.run("online").text


@pytest.mark.parametrize("role", ["UserVmManager", "HostAdmin"])
def test_online_without_the_right_to_start_here(one_agent: RhevAgent, role: str) -> None:
    one_agent.manager.user("admin@internal").role = role
    done = one_agent.run("online")
    assert done.code == 0
    assert one_agent.manager.vm("g1").status == "down"


# A host that died


def dead_host(agent: RhevAgent) -> None:
    agent.manager.put("g1", "up", "h2")
    agent.manager.host("h2").die()
    agent.manager.clock.scale = 30


def test_a_dead_host_is_fenced_when_three_voices_agree(agent: RhevAgent) -> None:
    dead_host(agent)
    agent.info["UseManualRHEVMFencing"] = "1"
    agent.home.answer("hasys", "FAULTED\n")
    done = agent.run("online", limit_s=40)
    assert done.code == 5, done.text
    assert agent.manager.commands == ["fence h2", "start g1"]
    assert {call.argv[1] for call in agent.home.calls("hasys")} == {"NodeTwo"}
    assert "its host h2 is dead, say RHEV-M (non_responsive) and VCS (FAULTED)" in done.text


@pytest.mark.parametrize(
    ("fencing", "hasys", "text"),
    [
        ("0", (0, "FAULTED\n"), "set RHEVMInfo.UseManualRHEVMFencing to 1"),
        ("1", (0, "RUNNING\n"), "VCS does not call NodeTwo FAULTED"),
        ("1", (0, "EXITED\n"), "VCS does not call NodeTwo FAULTED"),
        ("1", (0, ""), "VCS does not call NodeTwo FAULTED"),
        ("1", (1, "FAULTED\n"), "VCS does not call NodeTwo FAULTED"),
        ("1", (0, "FAULTED RUNNING\n"), "VCS does not call NodeTwo FAULTED"),
    ],
)
def test_nothing_is_fenced_on_a_doubt(
    one_agent: RhevAgent, fencing: str, hasys: tuple[int, str], text: str
) -> None:
    dead_host(one_agent)
    one_agent.manager.advance(120)
    one_agent.info["UseManualRHEVMFencing"] = fencing
    one_agent.home.answer("hasys", hasys[1], hasys[0])
    done = one_agent.run("online", limit_s=8)
    assert done.code == 0
    assert text in done.text
    assert one_agent.manager.commands == []


def test_a_host_that_rhevm_only_misses_is_not_fenced(one_agent: RhevAgent) -> None:
    """VCS says FAULTED, RHEV-M still says connecting."""
    one_agent.manager.clock.scale = 0
    one_agent.manager.put("g1", "up", "h2")
    one_agent.manager.host("h2").die()
    one_agent.info["UseManualRHEVMFencing"] = "1"
    one_agent.home.answer("hasys", "FAULTED\n")
    done = one_agent.run("online", limit_s=8)
    assert "RHEV-M has not given the host up yet" in done.text
    assert one_agent.manager.commands == []


def test_a_host_without_a_known_system_is_not_fenced(one_agent: RhevAgent) -> None:
    dead_host(one_agent)
    one_agent.manager.advance(120)
    one_agent.info["UseManualRHEVMFencing"] = "1"
    del one_agent.options["hosts"]["NodeTwo"]
    one_agent.home.answer("hasys", "FAULTED\n")
    done = one_agent.run("online", limit_s=8)
    assert "no VCS system is known to be h2; map it in [hosts]" in done.text
    assert one_agent.manager.commands == []


def test_fencing_that_rhevm_refuses(one_agent: RhevAgent) -> None:
    dead_host(one_agent)
    one_agent.manager.advance(120)
    one_agent.info["UseManualRHEVMFencing"] = "1"
    one_agent.home.answer("hasys", "FAULTED\n")
    with one_agent.manager.fault("403", path="/fence"):
        done = one_agent.run("online", limit_s=8)
    assert "RHEV-M does not fence h2" in done.text
    assert one_agent.manager.commands == ["fence h2"]
    assert one_agent.manager.vm("g1").status == "unknown"


def test_a_cut_off_host_that_comes_back_keeps_its_guest(one_agent: RhevAgent) -> None:
    one_agent.manager.put("g1", "up", "h2")
    one_agent.manager.host("h2").cut_off()
    one_agent.manager.advance(120)
    assert one_agent.monitor().code == 100  # unknown, but not here
    timer = threading.Timer(1.0, one_agent.manager.host("h2").recover)
    timer.start()
    done = one_agent.run("online", limit_s=20)
    timer.join()
    assert "it is up on h2, which RHEV-M calls up" in done.text
    assert one_agent.manager.commands == []


def test_a_guest_that_rhevm_frees_by_itself_is_started(one_agent: RhevAgent) -> None:
    """RHEV-M's own power fencing, while online waits."""
    dead_host(one_agent)
    one_agent.manager.advance(120)
    timer = threading.Timer(1.5, lambda: one_agent.manager.put("g1", "down"))
    timer.start()
    done = one_agent.run("online", limit_s=20)
    timer.join()
    assert done.code == 5, done.text
    assert one_agent.manager.commands == ["start g1"]


def test_online_waits_for_a_guest_on_its_way_down(one_agent: RhevAgent) -> None:
    one_agent.manager.put("g1", "powering_down", "h1")
    timer = threading.Timer(1.5, lambda: one_agent.manager.put("g1", "down"))
    timer.start()
    done = one_agent.run("online", limit_s=20)
    timer.join()
    assert done.code == 5, done.text


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
