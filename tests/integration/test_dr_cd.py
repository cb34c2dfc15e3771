"""DROpts on real libvirtd: the CD that bin/online makes, attaches, replaces and removes.

The guests are small ones that print the files of their CD on the console. That a full guest takes
its network from it is in test_dr_guest.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.guest import READY, bare, obedient, wait_for_console
from tests.lab.host import Host, Lab, VirshError
from tests.lab.image import build_image

pytestmark = pytest.mark.hypervisor

ROOT = Path(__file__).resolve().parents[2]
STATE = Path("var/lib/kvmguest")  # in a host's directory
QEMU_USER = "libvirt-qemu"  # Debian's
GUEST = "web"
UUID = "7d1f53a6-0a5e-4a39-8a44-52c3ab5b2a01"
SITE_B = {"ConfigureNetwork": "1", "IPAddress": "10.20.0.5", "Netmask": "24"}
OFF = {"ConfigureNetwork": "0", "IPAddress": "nonsense"}
OWN_CD = "<disk type='file' device='cdrom'><target dev='{}' bus='ide'/><readonly/></disk>"
FOUR_CDS = "".join(OWN_CD.format(name) for name in ("hda", "hdb", "hdc", "hdd"))


def dropts(options: Mapping[str, str]) -> list[str]:
    words = [word for pair in options.items() for word in pair]
    return ["DROpts", str(len(words)), *words]


class Node(NamedTuple):
    """A host with the guest on it."""

    host: Host
    console: Path
    sync: Path

    @property
    def iso(self) -> Path:
        return self.host.directory / STATE / "dr.d" / f"{GUEST}.iso"

    def run(
        self, verb: str, options: Mapping[str, str], *words: str, prefix: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        tuples = ["GuestName", "1", GUEST, *dropts(options), *words, "AEPTimeout", "1", "60"]
        argv = [*prefix, str(ROOT / "bin" / verb), "res", *tuples]
        return self.host.run(argv, env={"KVMGUEST_DEBUG": "1"})

    def definition(self) -> str:
        return self.host.virsh("dumpxml", "--inactive", "--security-info", GUEST)

    def drives(self) -> dict[str, str]:
        """Source by target, "-" for an empty drive."""
        lines = self.host.virsh("domblklist", "--inactive", GUEST).splitlines()
        return dict(line.split() for line in lines if line.strip())

    def is_running(self) -> bool:
        return GUEST in self.host.virsh("list", "--name").split()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.host("one")
        yield made


@pytest.fixture
def node(lab: Lab, tmp_path: Path) -> Iterator[Node]:
    host = lab.hosts[0]
    console = lab.shared / "console"
    console.write_bytes(b"")
    yield Node(host, console, tmp_path)
    if GUEST in host.virsh("list", "--name").split():
        host.virsh("destroy", GUEST)
    if GUEST in host.virsh("list", "--all", "--name").split():
        host.undefine(GUEST)


def reader(node: Node, extra: str = "") -> str:
    """A guest that prints its CD."""
    return obedient(GUEST, build_image(), node.console, uuid=UUID, words=["cd"], extra=extra)


def boot(node: Node, options: Mapping[str, str], *words: str) -> tuple[str, str]:
    """Bring it online; what the agent logged, and what the guest printed until it was ready."""
    start = node.console.stat().st_size
    done = node.run("online", options, *words)
    assert done.returncode == 5, done.stderr
    return done.stderr, wait_for_console(node.console, READY, start=start)


def test_the_guest_reads_the_cd_until_it_is_replaced_and_removed(node: Node) -> None:
    node.host.define(reader(node))
    log, printed = boot(node, SITE_B)
    assert "DROpts: 10.20.0.5/24 for the first network card of the guest" in log
    assert "attached" in log
    assert "guest: cd: vcs-net-reconfig.conf" in printed
    assert "IPAddress=10.20.0.5\r\nNetmask=255.255.255.0\r\n" in printed
    definition, image = node.definition(), node.iso.read_bytes()

    # A running guest is never changed.
    done = node.run("online", {**SITE_B, "IPAddress": "10.20.0.6"})
    assert "It runs already" in done.stderr
    assert (node.definition(), node.iso.read_bytes()) == (definition, image)
    node.host.virsh("destroy", GUEST)

    inode = node.iso.stat().st_ino
    log, _printed = boot(node, SITE_B)
    assert "unchanged" in log
    assert (node.definition(), node.iso.stat().st_ino) == (definition, inode)
    node.host.virsh("destroy", GUEST)

    log, printed = boot(node, {**SITE_B, "IPAddress": "10.20.0.6"})
    assert "replaced" in log
    assert "IPAddress=10.20.0.6\r\n" in printed
    assert node.definition() == definition
    node.host.virsh("destroy", GUEST)

    log, printed = boot(node, OFF)
    assert "ConfigureNetwork is 0: its CD is removed" in log
    assert "guest: cd:" not in printed
    assert "ua-vcsnetcfg" not in node.definition()
    assert not node.iso.exists()


def test_the_guest_reads_it_on_scsi(node: Node, lab: Lab) -> None:
    """This guest has no driver for SATA: a bus that it uses already is the better choice."""
    disk = lab.shared / "disk"
    disk.write_bytes(bytes(1 << 20))
    scsi = (
        "<controller type='scsi' index='0' model='virtio-scsi'/><disk type='file' device='disk'>"
        f"<source file='{disk}'/><target dev='sda' bus='scsi'/></disk>"
    )
    node.host.define(reader(node, scsi).replace("machine='pc'", "machine='q35'"))
    assert "IPAddress=10.20.0.5\r\n" in boot(node, SITE_B)[1]
    assert f"/{STATE}/dr.d/{GUEST}.iso" == node.drives()["sdz"]


def test_a_suspended_guest_goes_on_as_it_was(node: Node) -> None:
    node.host.define(reader(node))
    boot(node, SITE_B)
    node.host.virsh("managedsave", GUEST)
    definition, image = node.definition(), node.iso.read_bytes()
    for options in ({**SITE_B, "IPAddress": "10.20.0.6"}, OFF):
        done = node.run("online", options)
        assert done.returncode == 5
        assert "goes on with the network it had" in done.stderr
        assert (node.definition(), node.iso.read_bytes()) == (definition, image)
        assert node.host.virsh("domstate", "--reason", GUEST) == "running (restored)"
        node.host.virsh("managedsave", GUEST)
    node.iso.unlink()  # it may be lost: the guest does not need it any more
    assert node.run("online", SITE_B).returncode == 5
    assert node.is_running()


def test_a_guest_whose_saved_memory_is_given_up_boots_with_the_cd(node: Node, lab: Lab) -> None:
    disk = lab.shared / "disk"
    disk.write_bytes(bytes(1 << 20))
    vda = f"<disk type='file' device='disk'><source file='{disk}'/><target dev='vda'/></disk>"
    node.host.define(bare(GUEST, uuid=UUID, extra=vda))
    node.host.virsh("start", GUEST)
    node.host.virsh("managedsave", GUEST)
    later = disk.stat().st_mtime + 60
    os.utime(disk, (later, later))  # as if another node had written to it
    done = node.run("online", SITE_B)
    assert "the saved memory is given up" in done.stderr
    assert "attached" in done.stderr
    assert node.host.virsh("domstate", "--reason", GUEST) == "running (booted)"
    assert f"/{STATE}/dr.d/{GUEST}.iso" in node.host.virsh("domblklist", GUEST)


BAD = {**SITE_B, "IPAddress": "10.20.0.256", "Gateway": "10.21.0.1; reboot", "DNSServer": "x"}


def test_wrong_dropts_keep_the_guest_down_and_nothing_else(node: Node) -> None:
    node.host.define(bare(GUEST, uuid=UUID))
    before = node.definition()
    done = node.run("online", BAD)
    assert done.returncode == 0
    assert not node.is_running()
    assert node.definition() == before
    (complaint,) = [line for line in done.stderr.splitlines() if "start failed" in line]
    for part in ("IPAddress is '10.20.0.256'", "Gateway is '10.21.0.1; reboot'", "'DNSServer'"):
        assert part in complaint
    assert "OFFLINE" in complaint
    assert "IPAddress is '10.20.0.256'" in node.run("open", BAD).stderr

    node.host.virsh("start", GUEST)
    assert node.run("monitor", BAD).returncode == 110
    assert "It runs already" in node.run("online", BAD).stderr
    node.run("offline", BAD, "DelayAfterGuestOffline", "1", "1")
    assert node.run("clean", BAD).returncode == 0
    assert node.run("monitor", BAD).returncode == 100


@pytest.mark.parametrize("package", ["pycdlib", "lxml"])
def test_without_the_package_the_guest_stays_down(node: Node, package: str, tmp_path: Path) -> None:
    node.host.define(bare(GUEST, uuid=UUID))
    hide = f'mount --bind "$0" /usr/lib/python3/dist-packages/{package} && exec "$@"'
    prefix = ("unshare", "-m", "sh", "-c", hide, str(tmp_path))
    done = node.run("online", SITE_B, prefix=prefix)
    assert done.returncode == 0
    assert not node.is_running()
    assert f"python3-{package}" in done.stderr
    done = node.run("online", OFF, prefix=prefix)
    assert done.returncode == 5, "without DROpts it is not needed"


MACHINES = {
    "pc": ("pc", "", "hdd"),
    "pc with a CD": ("pc", OWN_CD.format("hda"), "hdd"),
    "q35": ("q35", "", "sdz"),
    "scsi only": ("pc", "<controller type='scsi' model='virtio-scsi'/>" + FOUR_CDS, "sdz"),
}


@pytest.mark.parametrize("kind", MACHINES)
def test_the_copy_in_sync_dir_has_no_cd(node: Node, kind: str) -> None:
    """And the administrator's drives, wherever they are, stay as they are."""
    machine, extra, name = MACHINES[kind]
    document = bare(GUEST, uuid=UUID, extra=extra).replace("machine='pc'", f"machine='{machine}'")
    node.host.define(document)
    own = node.drives()
    words = ("SyncDir", "1", str(node.sync), "ResyncVMCfg", "1", "1")
    assert node.run("online", SITE_B).returncode == 5
    assert node.drives() == {**own, name: f"/{STATE}/dr.d/{GUEST}.iso"}
    assert node.run("clean", SITE_B, *words).returncode == 0
    copy = (node.sync / f"{GUEST}.xml").read_text()
    assert "dr.d" not in copy
    assert "ua-vcsnetcfg" not in copy

    # Brought online from that copy, on a node that has never seen it and on one that has.
    done = node.run("online", SITE_B, *words)
    assert done.returncode == 5
    assert "redefined" not in done.stderr, "our CD is no difference"
    node.host.virsh("destroy", GUEST)
    node.host.undefine(GUEST)
    assert node.run("online", SITE_B, *words).returncode == 5
    assert node.drives() == {**own, name: f"/{STATE}/dr.d/{GUEST}.iso"}
    node.host.virsh("destroy", GUEST)

    assert node.run("online", OFF, *words).returncode == 5
    assert node.drives() == own


def test_no_free_place_keeps_the_guest_down(node: Node) -> None:
    node.host.define(bare(GUEST, uuid=UUID, extra=FOUR_CDS))
    before = node.definition()
    done = node.run("online", SITE_B)
    assert done.returncode == 0
    assert "start failed: no place for the CD of DROpts" in done.stderr
    assert node.definition() == before
    assert not node.is_running()


def test_a_qemu_that_is_not_root_reads_the_cd_and_nothing_else(lab: Lab, tmp_path: Path) -> None:
    """As on a real host: libvirt gives the image to QEMU's user, but opens no directory."""
    host = lab.host("two")
    conf = host.directory / "etc/libvirt/qemu.conf"
    text = conf.read_text().replace('"root"', f'"{QEMU_USER}"')
    conf.write_text(text.replace("dynamic_ownership = 0", "dynamic_ownership = 1"))
    host.kill_libvirtd()
    host.start_libvirtd()
    node = Node(host, tmp_path, tmp_path)
    host.define(bare(GUEST, uuid=UUID))
    node.run("monitor", SITE_B)
    strict = ("sh", "-c", 'umask 077; exec "$@"', "sh")
    assert node.run("online", SITE_B, prefix=strict).returncode == 5
    assert node.iso.owner() == QEMU_USER

    def may(command: str) -> bool:
        user = f"--reuid={QEMU_USER}"
        argv = ["setpriv", user, "--regid=65534", "--clear-groups", "sh", "-c", command]
        return host.run(argv).returncode == 0

    assert may(f"cat /{STATE}/dr.d/{GUEST}.iso >/dev/null")
    assert not may(f"ls /{STATE}/dr.d")
    assert not may(f"ls /{STATE}")
    assert not may(f"cat /{STATE}/res"), "monitor's last verdict"
    assert not may(f": >/{STATE}/dr.d/new")

    host.virsh("destroy", GUEST)
    may(f"echo >>/{STATE}/dr.d/{GUEST}.iso")
    host.run(["chmod", "0700", f"/{STATE}", f"/{STATE}/dr.d"])
    with pytest.raises(VirshError, match="Permission denied"):
        host.virsh("start", GUEST)
    done = node.run("online", SITE_B)
    assert (done.returncode, "replaced" in done.stderr) == (5, True)
    host.virsh("destroy", GUEST)


def test_the_administrators_hand_on_our_drive_is_put_right(node: Node) -> None:
    node.host.define(bare(GUEST, uuid=UUID))
    node.run("online", SITE_B)
    node.host.virsh("destroy", GUEST)
    drives = node.drives()
    node.host.virsh("change-media", GUEST, "hdd", "--eject", "--config")
    node.iso.write_bytes(b"not a CD")
    assert "attached" in node.run("online", SITE_B).stderr
    assert node.drives() == drives
    assert len(re.findall("ua-vcsnetcfg", node.definition())) == 1
    assert node.iso.stat().st_size > 30000
