"""The main job on real guests: VCS's order, and every state that libvirt can be brought to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.agent import Agent
from tests.lab.guest import READY, bare, obedient, wait_for_console
from tests.lab.host import Host, Lab, VirshError
from tests.lab.image import Image

pytestmark = pytest.mark.hypervisor


@pytest.fixture
def console(lab: Lab, request: pytest.FixtureRequest) -> Path:
    return lab.shared / f"{request.node.name}.console"


def test_the_whole_order_of_vcs(agent: Agent, host: Host, image: Image, console: Path) -> None:
    host.define(obedient("web", image, console))
    assert agent.run("open", "web").code == 0
    assert agent.monitor("web") == 100

    online = agent.run("online", "web", DelayAfterGuestOnline="3")
    assert online.code == 3
    assert "I start done; web: libvirt: running (booted): ONLINE, confidence 100" in online.log
    assert agent.monitor("web") == 110
    assert agent.run("monitor", "web").log == ""  # said before
    assert agent.run("online", "web").code == 0  # runs already
    wait_for_console(console, READY)

    host.virsh("suspend", "web")
    assert agent.monitor("web") == 200
    assert agent.run("online", "web", DelayAfterGuestOnline="3").code == 3
    assert host.virsh("domstate", "--reason", "web") == "running (unpaused)"

    offline = agent.run("offline", "web", DelayAfterGuestOffline="40")
    assert offline.code == 0
    assert offline.seconds < 19, "it must return when the guest is down, not after the delay"
    assert "I shut down; web: libvirt: shut off (shutdown): OFFLINE" in offline.log
    assert agent.monitor("web") == 100
    assert agent.run("offline", "web").code == 0

    agent.run("online", "web")
    host.kill_qemu("web")
    host.wait_for_state("web", "shut off (crashed)")
    assert agent.monitor("web") == 100
    assert agent.run("clean", "web").code == 0
    assert agent.run("close", "web").code == 0


def test_states_of_a_guest_that_needs_nothing(agent: Agent, host: Host) -> None:
    assert agent.monitor("web") == 100
    host.define(bare("web"))
    assert agent.monitor("web") == 100
    host.virsh("start", "web")
    assert agent.monitor("web") == 110
    host.virsh("suspend", "web")
    assert agent.monitor("web") == 200
    clean = agent.run("clean", "web")
    assert clean.code == 0
    assert "I destroyed; web: libvirt: shut off (destroyed): OFFLINE" in clean.log
    assert agent.monitor("web") == 100


def test_a_managed_save_is_kept_for_the_next_online(agent: Agent, host: Host) -> None:
    host.define(bare("web"))
    host.virsh("start", "web")
    host.virsh("managedsave", "web")
    saved = agent.run("monitor", "web")
    assert saved.code == 200
    assert "libvirt: shut off (saved) with a managed save image" in saved.log
    assert agent.run("clean", "web").code == 0
    assert agent.run("offline", "web").code == 0
    assert agent.monitor("web") == 200
    assert agent.run("online", "web").code == 5
    assert host.virsh("domstate", "--reason", "web") == "running (restored)"
    assert agent.monitor("web") == 110


def test_a_start_that_fails_is_told_by_the_monitor(agent: Agent, host: Host, lab: Lab) -> None:
    target = "<target dev='vda' bus='virtio'/>"
    disk = f"<disk type='file'><source file='{lab.shared}/none'/>{target}</disk>"
    host.define(bare("web", extra=disk))
    online = agent.run("online", "web")
    assert online.code == 0
    assert "E web: start failed: " in online.log
    assert "No such file or directory" in online.log
    assert host.virsh("domstate", "--reason", "web") == "shut off (failed)"
    assert agent.monitor("web") == 100


def test_a_guest_that_suspended_itself(
    agent: Agent, host: Host, image: Image, console: Path
) -> None:
    host.define(obedient("web", image, console))
    host.virsh("start", "web")
    wait_for_console(console, READY)
    host.virsh("send-key", "web", "KEY_SLEEP")
    host.wait_for_state("web", "pmsuspended (unknown)")
    assert agent.monitor("web") == 200
    assert agent.run("online", "web").code == 5
    wait_for_console(console, "guest: awake")
    assert agent.monitor("web") == 110


def test_a_suspended_guest_is_woken_to_be_shut_down(
    agent: Agent, host: Host, image: Image, console: Path
) -> None:
    host.define(obedient("web", image, console))
    host.virsh("start", "web")
    wait_for_console(console, READY)
    host.virsh("send-key", "web", "KEY_SLEEP")
    host.wait_for_state("web", "pmsuspended (unknown)")
    offline = agent.run("offline", "web", DelayAfterGuestOffline="24")
    assert offline.code == 0
    assert agent.monitor("web") == 100, offline.log


def test_a_guest_that_panicked(agent: Agent, host: Host, image: Image, console: Path) -> None:
    """https://github.com/OpenNebula/one/issues/6645: a kernel panic that nobody saw."""
    host.define(obedient("web", image, console, panic=True))
    host.virsh("start", "web")
    wait_for_console(console, READY)
    host.virsh("inject-nmi", "web")
    host.wait_for_state("web", "crashed (panicked)")
    panicked = agent.run("monitor", "web")
    assert panicked.code == 100
    assert "W web: libvirt: crashed (panicked): OFFLINE; the guest panicked" in panicked.log
    # The group is offline for VCS now; nothing may start while the process holds the disks.
    assert agent.run("online", "web").code == 0
    assert host.virsh("domstate", "web") == "crashed"
    assert agent.run("clean", "web").code == 0
    assert host.virsh("domstate", "--reason", "web") == "shut off (destroyed)"


def test_a_guest_whose_disk_is_full(
    agent: Agent, host: Host, image: Image, console: Path, lab: Lab
) -> None:
    """https://github.com/kubevirt/kubevirt/issues/6600: paused, and nobody said why."""
    full = lab.shared / "full"
    full.mkdir()
    host.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)])
    host.run(["sh", "-c", f"truncate -s 64k {full}/disk; cat /dev/zero >{full}/fill"])
    disk = (
        "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='writeback'/>"
        f"<source file='{full}/disk'/><target dev='vda' bus='virtio'/></disk>"
    )
    host.define(obedient("web", image, console, words=["writer"], extra=disk))
    host.virsh("start", "web")
    host.wait_for_state("web", "paused (I/O error)")
    stuck = agent.run("monitor", "web")
    assert stuck.code == 102
    assert "W web: libvirt: paused (I/O error): ONLINE, confidence 20; mend" in stuck.log
    host.run(["rm", f"{full}/fill"])
    offline = agent.run("offline", "web", DelayAfterGuestOffline="30")
    assert offline.code == 0
    assert "I shut down" in offline.log
    host.run(["umount", str(full)])


def test_a_paused_guest_is_shut_down(agent: Agent, host: Host, image: Image, console: Path) -> None:
    """Measured: shutdown of a paused domain says "domain is not running" and leaves it paused."""
    host.define(obedient("web", image, console))
    host.virsh("start", "web")
    wait_for_console(console, READY)
    host.virsh("suspend", "web")
    offline = agent.run("offline", "web", DelayAfterGuestOffline="30")
    assert offline.code == 0
    assert "I shut down; web: libvirt: shut off (shutdown)" in offline.log


def test_a_booting_guest_that_is_deaf_gets_a_second_request(
    agent: Agent, host: Host, image: Image, console: Path
) -> None:
    """https://github.com/ansible-collections/community.libvirt/issues/63: it returned too early."""
    host.define(obedient("web", image, console))
    host.virsh("start", "web")  # its BIOS runs now, and does not know the button
    offline = agent.run("offline", "web", DelayAfterGuestOffline="50")
    assert offline.code == 0
    assert 25 <= offline.seconds < 50
    assert "I shut down; web: libvirt: shut off (shutdown)" in offline.log


def test_a_guest_that_never_hears(agent: Agent, host: Host) -> None:
    """https://github.com/ClusterLabs/resource-agents/issues/1293: "stopped", but it was not."""
    host.define(bare("web"))
    host.virsh("start", "web")
    offline = agent.run("offline", "web", DelayAfterGuestOffline="3")
    assert offline.code == 0
    assert 3 <= offline.seconds < 6
    assert "W not down 3 s after the first request; web: libvirt: running (booted)" in offline.log
    assert agent.monitor("web") == 110
    assert agent.run("clean", "web").code == 0
    assert agent.monitor("web") == 100


def test_a_transient_guest(agent: Agent, host: Host, lab: Lab) -> None:
    """https://github.com/ClusterLabs/resource-agents/issues/487: transient guests vanish."""
    (lab.shared / "transient.xml").write_text(bare("web"))
    host.virsh("create", str(lab.shared / "transient.xml"))
    assert agent.monitor("web") == 110
    assert agent.run("clean", "web").code == 0
    with pytest.raises(VirshError, match="failed to get domain"):
        host.virsh("domstate", "web")
    assert agent.monitor("web") == 100


@pytest.mark.parametrize("verb", ["clean", "offline"])
def test_the_configuration_of_a_transient_guest_outlives_it(
    agent: Agent, host: Host, lab: Lab, verb: str
) -> None:
    """Nobody else has it, after virsh migrate --undefinesource without --persistent."""
    (lab.shared / "transient.xml").write_text(bare("web"))
    host.virsh("create", str(lab.shared / "transient.xml"))
    more = {"SyncDir": str(lab.shared), "DelayAfterGuestOffline": "2"}
    assert agent.run(verb, "web", **more).code == 0
    if verb == "offline":  # a guest without an operating system is deaf
        assert agent.run("clean", "web", **more).code == 0
    assert agent.monitor("web") == 100
    assert agent.run("online", "web", **more).code == 5
    assert agent.monitor("web") == 110
    (lab.shared / "web.xml").unlink()


NAMES = ["p.1", "we*", "web 1", "a,b", "wéb", "-web", "web'\"&<x>"]


def test_odd_names_and_names_that_begin_alike(agent: Agent, host: Host) -> None:
    """Measured with VirtualDomain: "p.1" is configured, "pt1" runs, and it says running."""
    for name in ("pt1", "web", *NAMES):
        host.define(bare(name))
    for name in ("pt1", "web"):
        host.virsh("start", name)
    assert [agent.monitor(name) for name in NAMES] == [100] * len(NAMES)
    host.virsh("destroy", "web")
    for name in NAMES:
        assert agent.run("online", name).code == 5
        assert agent.monitor(name) == 110
        assert agent.monitor("web") == 100
        assert agent.run("clean", name).code == 0
        assert agent.monitor(name) == 100
    assert agent.monitor("pt1") == 110


@pytest.mark.parametrize("locale", ["de_DE.UTF-8", "C"])
def test_another_locale(agent: Agent, host: Host, locale: str) -> None:
    agent.env = {"LC_ALL": locale, "LANGUAGE": "de"}
    assert agent.monitor("absent") == 100
    host.define(bare("web"))
    assert agent.run("online", "web").code == 5
    assert agent.monitor("web") == 110
    assert agent.run("clean", "web").code == 0
