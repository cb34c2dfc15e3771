"""online on RHEV-M: on this host only, and what becomes of a guest whose host died."""

from __future__ import annotations

import threading
from typing import Callable

import pytest

from tests.contract.rhev_agent import (
    Done,
    RhevAgent,
    fixtures,
    node,
)

agent, one_agent = fixtures(node)


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

    done = online_while(agent, 1.5, unlock, limit_s=14)
    assert done.code == 5, done.text


def test_online_tries_again_where_rhevm_says_so(agent: RhevAgent) -> None:
    vm = agent.manager.vm("g1")
    vm.disks_locked = ["d1"]
    done = online_while(agent, 1.5, vm.disks_locked.clear)
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


def online_while(
    agent: RhevAgent, after_s: float, change: Callable[[], object], *, limit_s: int = 20
) -> Done:
    """Online, and so many seconds later something changes in RHEV-M."""
    timer = threading.Timer(after_s, change)
    timer.start()
    done = agent.run("online", limit_s=limit_s)
    timer.join()
    return done


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
    done = online_while(one_agent, 1.0, one_agent.manager.host("h2").recover)
    assert "it is up on h2, which RHEV-M calls up" in done.text
    assert one_agent.manager.commands == []


def test_a_guest_that_left_the_dead_host_for_none(one_agent: RhevAgent) -> None:
    dead_host(one_agent)
    one_agent.manager.advance(120)
    done = online_while(one_agent, 1.5, lambda: one_agent.manager.put("g1", "image_locked"))
    assert done.code == 0
    assert "it left h2 and is image_locked now" in done.text
    assert "elsewhere" not in done.text
    assert one_agent.manager.commands == []


def test_a_guest_that_rhevm_frees_by_itself_is_started(one_agent: RhevAgent) -> None:
    """RHEV-M's own power fencing, while online waits."""
    dead_host(one_agent)
    one_agent.manager.advance(120)
    done = online_while(one_agent, 1.5, lambda: one_agent.manager.put("g1", "down"))
    assert done.code == 5, done.text
    assert one_agent.manager.commands == ["start g1"]


def test_online_waits_for_a_guest_on_its_way_down(one_agent: RhevAgent) -> None:
    one_agent.manager.put("g1", "powering_down", "h1")
    done = online_while(one_agent, 1.5, lambda: one_agent.manager.put("g1", "down"))
    assert done.code == 5, done.text
