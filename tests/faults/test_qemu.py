"""QEMU frozen, killed, stuck."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.agent import Agent
from tests.lab.guest import bare
from tests.lab.host import Host
from tests.lab.namespaces import LabError, is_alive

pytestmark = pytest.mark.hypervisor


@pytest.fixture
def frozen(host: Host, agent: Agent) -> Iterator[int]:
    """The process of a guest whose QEMU neither runs nor answers."""
    agent.configure("[libvirt]\nprobe = yes\n")
    host.define(bare("web"))  # neither disk nor balloon: the probe must need none
    host.virsh("start", "web")
    assert agent.monitor("web") == 110
    pid = host.qemu_pid("web")
    host.freeze_qemu("web")
    yield pid
    try:
        host.thaw_qemu("web")
    except LabError:
        return  # it is gone, as it should


def test_a_frozen_qemu_is_seen_shut_down_in_bounded_time_and_cleaned(
    agent: Agent, frozen: int
) -> None:
    """https://github.com/ClusterLabs/resource-agents/issues/137: stop too slow, node fenced.

    Measured: domstate says running, shutdown gives no answer in 70 s, destroy takes 10.3 s.
    """
    start = time.monotonic()
    first = agent.run("monitor", "web")
    assert first.code == 110
    assert first.seconds < 6
    time.sleep(max(0.0, start + 11 - time.monotonic()))
    second = agent.run("monitor", "web")
    assert second.code == 103
    assert "W web: libvirt: running (booted), but its control interface is occupied" in second.log
    assert "ONLINE, confidence 30" in second.log

    offline = agent.run("offline", "web", DelayAfterGuestOffline="4", AEPTimeout="20")
    assert offline.code == 0
    assert offline.seconds < 20
    assert is_alive(frozen)

    clean = agent.run("clean", "web")
    assert clean.code == 0
    assert clean.seconds < 15
    assert not is_alive(frozen)
    assert agent.monitor("web") == 100


def test_a_frozen_qemu_that_cannot_be_cleaned_in_time_is_no_success(
    agent: Agent, frozen: int
) -> None:
    clean = agent.run("clean", "web", AEPTimeout="8")
    assert clean.code == 1
    assert clean.seconds < 8
    assert clean.log.splitlines()[-1].startswith("E web: destroy failed: ")
    # What libvirt had been asked for goes on, and the next clean finds it done.
    assert agent.run("clean", "web").code == 0
    assert not is_alive(frozen)


def test_a_qemu_that_is_thawed_is_well_again(agent: Agent, host: Host, frozen: int) -> None:
    assert agent.monitor("web") == 110
    host.thaw_qemu("web")
    time.sleep(0.2)
    assert agent.monitor("web") == 110
    assert is_alive(frozen)


def test_a_killed_qemu_is_offline_and_can_be_started_again(agent: Agent, host: Host) -> None:
    host.define(bare("web"))
    for _time in range(2):
        assert agent.run("online", "web").code == 5
        host.kill_qemu("web")
        host.wait_for_state("web", "shut off (crashed)")
        monitor = agent.run("monitor", "web")
        assert monitor.code == 100
        assert agent.run("clean", "web").code == 0


def test_a_guest_that_dies_while_it_is_shut_down(agent: Agent, host: Host) -> None:
    host.define(bare("web"))
    host.virsh("start", "web")
    begun = agent.begin("offline", "web", DelayAfterGuestOffline="30")
    time.sleep(1)
    host.kill_qemu("web")
    ended = agent.finish(begun)
    assert ended.code == 0
    assert ended.seconds < 5
    assert "libvirt: shut off (crashed): OFFLINE" in ended.log
