"""libvirtd frozen, killed, restarted; its files deleted. No fault may make a guest OFFLINE."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.integration.agent import BIN, Agent
from tests.lab.guest import READY, bare, obedient, wait_for_console
from tests.lab.host import Host, Lab
from tests.lab.image import Image

pytestmark = pytest.mark.hypervisor

VERBS = ("monitor", "clean", "online", "offline")


@pytest.fixture
def running(host: Host, agent: Agent) -> Iterator[str]:
    """A guest that runs; a libvirtd that was harmed is made well afterwards."""
    assert agent.host is host
    host.define(bare("web"))
    host.virsh("start", "web")
    yield "web"
    try:
        host.thaw_libvirtd()
    except RuntimeError:
        host.start_libvirtd()


def test_virsh_hangs_and_the_agent_does_not(agent: Agent, host: Host, running: str) -> None:
    """https://github.com/ClusterLabs/resource-agents/issues/385: the agent hangs, the node dies."""
    host.freeze_libvirtd()
    ended = agent.at_once(*VERBS, guest=running, AEPTimeout="10")
    assert {verb: end.code for verb, end in ended.items()} == {
        "monitor": 99,
        "clean": 1,
        "online": 0,
        "offline": 0,
    }
    for verb, end in ended.items():
        assert end.seconds < 10, verb
        assert "web: libvirt: no answer" in end.log, verb
    host.thaw_libvirtd()
    assert agent.monitor(running) == 110


def test_a_libvirtd_that_freezes_in_the_middle(agent: Agent, host: Host, running: str) -> None:
    """Offline has asked the guest and waits; its next look gets no answer."""
    begun = agent.begin("offline", running, AEPTimeout="12", DelayAfterGuestOffline="60")
    time.sleep(1.5)
    host.freeze_libvirtd()
    ended = agent.finish(begun)
    assert ended.code == 0
    assert ended.seconds < 12
    assert "libvirt: no answer" in ended.log


def test_libvirtd_is_down_and_the_guest_runs(agent: Agent, host: Host, running: str) -> None:
    """https://github.com/ClusterLabs/resource-agents/issues/546: a node fenced for a daemon."""
    host.kill_libvirtd()
    monitor = agent.run("monitor", running)
    assert monitor.code == 105
    assert "W web: libvirt: no connection (its QEMU process is alive): virsh connect" in monitor.log
    assert "ONLINE, confidence 50; start libvirtd" in monitor.log
    assert monitor.seconds < 3
    assert agent.monitor("we") == 99
    assert agent.monitor("web1") == 99
    assert agent.monitor("w.b") == 99
    ended = agent.at_once("clean", "online", "offline", guest=running, AEPTimeout="10")
    assert {verb: end.code for verb, end in ended.items()} == {
        "clean": 1,
        "online": 0,
        "offline": 0,
    }
    for verb, end in ended.items():
        assert "E web: libvirt: no connection" in end.log, verb
    assert host.qemu_pid(running)
    host.start_libvirtd()
    assert agent.monitor(running) == 110


def test_a_libvirtd_that_restarts_does_not_cost_the_guest_its_shutdown(
    agent: Agent, host: Host, image: Image, lab: Lab
) -> None:
    """https://github.com/ClusterLabs/resource-agents/pull/395: stop came while it was restarted.

    VCS destroys what still runs when offline returns, so offline waits for libvirtd.
    """
    host.define(obedient("web", image, lab.shared / "restart.console"))
    host.virsh("start", "web")
    wait_for_console(lab.shared / "restart.console", READY)
    host.kill_libvirtd()
    begun = agent.begin("offline", "web", DelayAfterGuestOffline="30")
    time.sleep(3)
    host.start_libvirtd()
    offline = agent.finish(begun)
    assert offline.code == 0
    assert "I shut down; web: libvirt: shut off (shutdown)" in offline.log
    assert offline.seconds < 15


def test_libvirtd_restarts_while_the_guest_shuts_down(
    agent: Agent, host: Host, image: Image, lab: Lab
) -> None:
    console = lab.shared / "restart-later.console"
    host.define(obedient("web", image, console, words=["deaf"]))
    host.virsh("start", "web")
    begun = agent.begin("offline", "web", DelayAfterGuestOffline="8")
    time.sleep(1)
    host.kill_libvirtd()
    host.start_libvirtd()
    offline = agent.finish(begun)
    assert (offline.code, agent.monitor("web")) == (0, 110)
    assert "W not down 8 s after the first request; web: libvirt: running (booted)" in offline.log


def test_a_guest_that_reboots_is_never_offline(agent: Agent, host: Host, running: str) -> None:
    """https://github.com/ClusterLabs/resource-agents/issues/308: a reboot taken for a death."""
    begun = [agent.begin("monitor", running)]
    for _time in range(4):
        host.virsh("reset", running)
        begun.append(agent.begin("monitor", running))
    assert {agent.finish(one).code for one in begun} == {110}


def test_libvirtd_is_down_and_the_guest_is_not_there(agent: Agent, host: Host) -> None:
    host.define(bare("web"))
    host.kill_libvirtd()
    try:
        assert agent.monitor("web") == 99
        assert agent.run("clean", "web").code == 1
    finally:
        host.start_libvirtd()
    assert agent.monitor("web") == 100


# In one process, since an interpreter a poll would make 25 ms impossible.
_POLL = """
import os, sys, time
sys.path[:0] = sys.argv[1:2]
sys.path.append("/usr/lib/python3/dist-packages")
from kvmguest import entry
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    begin = time.monotonic()
    code = entry.run("monitor", ["res", "GuestName", "1", "web"], os.environ)
    print(begin, time.monotonic(), code, flush=True)
    time.sleep(0.025)
"""


def test_libvirtd_restarts_under_a_poll(agent: Agent, host: Host, running: str) -> None:
    """https://github.com/ClusterLabs/resource-agents/issues/1613: puppet restarts libvirtd."""
    arguments = ["/usr/bin/python3", "-I", "-c", _POLL, str(BIN.parent), "6"]
    env = {"VCS_HOME": "/nonexistent"}
    pollers = [
        host.popen(arguments, env=env, stdout=subprocess.PIPE, stderr=sys.stderr) for _ in range(3)
    ]
    time.sleep(1)
    down = time.monotonic()
    host.kill_libvirtd()
    host.start_libvirtd()
    up = time.monotonic()
    codes = [agent.monitor(running) for _process in range(5)]
    outputs = [poller.communicate(timeout=60)[0] for poller in pollers]
    polls = [line.split() for output in outputs for line in output.splitlines()]
    assert all(poller.returncode == 0 for poller in pollers)
    assert set(codes) <= {105, 110}
    assert len(polls) > 30
    assert {code for _begin, _end, code in polls} <= {"99", "105", "110"}
    unknown = [(float(b), float(e)) for b, e, code in polls if code == "99"]
    assert [poll for poll in unknown if poll[1] < down or poll[0] > up + 0.5] == []
    assert [code for begin, _end, code in polls if float(begin) > up + 1][-1] == "110"


def test_config_file_gone_is_not_offline(agent: Agent, host: Host, running: str) -> None:
    """https://github.com/ClusterLabs/resource-agents/issues/856: the data of a guest destroyed.

    Measured with VirtualDomain: configuration gone, stop says stopped, the guest runs on.
    """
    qemu = host.qemu_pid(running)
    (host.directory / "etc/libvirt/qemu/web.xml").unlink()
    assert agent.monitor(running) == 110

    host.kill_libvirtd()
    host.start_libvirtd()
    assert agent.monitor(running) == 110

    host.kill_libvirtd()
    for file in (host.directory / "run/libvirt/qemu").glob("web.xml*"):
        file.unlink()
    host.start_libvirtd()
    monitor = agent.run("monitor", running)
    assert monitor.code == 99
    assert "W web: libvirt: not defined, but its QEMU process" in monitor.log
    assert agent.run("clean", running).code == 1
    assert agent.run("offline", running).code == 0
    assert agent.run("online", running).code == 0

    # Even if somebody defines it again, it is not started beside its own process.
    host.define(bare("web"))
    assert agent.monitor(running) == 99
    assert agent.run("online", running).code == 0
    assert host.virsh("domstate", "web") == "shut off"
    assert host.qemu_pid(running) == qemu
    host.kill_qemu(running)
    assert agent.monitor(running) == 100


def test_many_monitors_while_libvirtd_is_frozen_leave_nothing(
    agent: Agent, host: Host, running: str
) -> None:
    host.freeze_libvirtd()
    begun = [agent.begin("monitor", running, AEPTimeout="4") for _number in range(10)]
    assert {agent.finish(one).code for one in begun} == {99}
    assert host.run(["pgrep", "-f", "bin/monitor"]).stdout == ""
