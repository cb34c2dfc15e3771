"""SyncDir, GuestConfigFilePath and ResyncVMCfg on two real libvirtd with real QEMU."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.guest import bare
from tests.lab.host import Host, Lab

pytestmark = pytest.mark.hypervisor

ROOT = Path(__file__).resolve().parents[2]
NVRAM = Path("lib/libvirt/qemu/nvram")  # in a host's /var
NIC = "<interface type='user'><mac address='52:54:00:12:34:56'/></interface>"
VNC = "<graphics type='vnc' autoport='yes' passwd='s3cret'/>"


class Cluster(NamedTuple):
    """Two nodes with one SyncDir, and a guest of the test's own that neither knows yet."""

    one: Host
    two: Host
    guest: str
    sync: Path

    @property
    def copy(self) -> Path:
        return self.sync / f"{self.guest}.xml"

    def run(self, host: Host, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an entry point, or ``actions/<token>``; stderr has what goes to VCS's log."""
        program, *reason = verb.split()
        tuples = ["GuestName", "1", self.guest, "SyncDir", "1", str(self.sync), *words]
        tuples += [] if "AEPTimeout" in words else ["AEPTimeout", "1", "60"]
        argv = [str(ROOT / "bin" / program), self.guest, *reason, *tuples]
        return host.run(argv, env={"KVMGUEST_DEBUG": "1"})

    def definition(self, host: Host) -> str:
        return host.virsh("dumpxml", "--inactive", "--security-info", self.guest)

    def is_running(self, host: Host) -> bool:
        return self.guest in host.virsh("list", "--name").split()


RESYNC = ("ResyncVMCfg", "1", "1")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.host("one")
        made.host("two")
        yield made


@pytest.fixture
def cluster(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    one, two = lab.hosts
    name = re.sub(r"\W+", "-", request.node.name)[-40:]
    sync = lab.shared / f"sync-{name}"
    sync.mkdir()
    yield Cluster(one, two, name, sync)
    for host in (one, two):
        if name in host.virsh("list", "--name").split():
            host.virsh("destroy", name)
        if name in host.virsh("list", "--all", "--name").split():
            host.virsh("undefine", "--managed-save", "--nvram", name)


def test_the_other_node_gets_the_same_guest(cluster: Cluster) -> None:
    one, two = cluster.one, cluster.two
    one.define(bare(cluster.guest, extra=NIC + VNC))
    one.virsh("start", cluster.guest)
    done = cluster.run(one, "offline", "DelayAfterGuestOffline", "1", "1")
    assert done.returncode == 0
    assert f"saved {cluster.copy}" in done.stderr
    assert cluster.copy.stat().st_mode & 0o777 == 0o600
    assert "s3cret" in cluster.copy.read_text()
    before = cluster.copy.stat()
    assert cluster.run(one, "clean 1").returncode == 0
    assert cluster.copy.stat().st_ino == before.st_ino, "unchanged, so not written again"

    done = cluster.run(two, "online")
    assert done.returncode == 5, done.stderr
    assert f"defined from {cluster.copy}" in done.stderr
    assert cluster.is_running(two)
    assert cluster.definition(two) == cluster.definition(one)
    assert cluster.copy.stat().st_ino == before.st_ino
    assert [path.name for path in cluster.sync.iterdir()] == [cluster.copy.name]


def test_a_first_definition_fixes_uuid_and_mac_for_all_nodes(
    cluster: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "guest.xml"
    file.write_text(bare(cluster.guest, extra="<interface type='user'/>"))
    words = ("GuestConfigFilePath", "1", str(file))
    assert "names no uuid" in cluster.run(cluster.one, "online", *words).stderr
    cluster.run(cluster.one, "clean 4")
    cluster.run(cluster.two, "online", *words)
    assert cluster.definition(cluster.two) == cluster.definition(cluster.one)
    assert "<mac address=" in cluster.definition(cluster.two)


@pytest.mark.parametrize("kind", ["automatic", "explicit"])
def test_uefi_variables_follow(cluster: Cluster, kind: str) -> None:
    document = bare(cluster.guest).replace("machine='pc'", "machine='q35'")
    name = f"{cluster.guest}_VARS.fd"
    if kind == "automatic":
        document = document.replace("<os>", "<os firmware='efi'>")
    else:
        document = document.replace(
            "</type>",
            "</type><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
            f"<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/{NVRAM}/{name}</nvram>",
        )
    cluster.one.define(document)
    cluster.one.virsh("start", cluster.guest)
    cluster.one.virsh("destroy", cluster.guest)
    mine = cluster.one.directory / "var" / NVRAM / name
    changed = mine.read_bytes()[:-9] + b"my change"
    mine.write_bytes(changed)
    assert cluster.run(cluster.one, "clean 4").returncode == 0
    saved = cluster.sync / f"{cluster.guest}.nvram"
    assert saved.read_bytes() == changed
    assert saved.stat().st_mode & 0o777 == 0o600

    done = cluster.run(cluster.two, "actions/vmconfigsync", "ACTION_ARGS", "1", "redefine")
    assert (done.returncode, done.stdout) == (0, f"{cluster.guest}: defined on this node\n")
    theirs = cluster.two.directory / "var" / NVRAM / name
    assert theirs.read_bytes() == changed
    assert cluster.run(cluster.two, "online").returncode == 5
    assert cluster.is_running(cluster.two)


def test_a_changed_document_is_taken_over(cluster: Cluster) -> None:
    one = cluster.one
    one.define(bare(cluster.guest, extra=NIC))
    old = cluster.definition(one)
    cluster.copy.write_text(re.sub(r"\s*<mac [^>]*>", "", old).replace("65536", "98304"))
    assert cluster.run(one, "online").returncode == 5
    assert "65536" in cluster.definition(one), "without ResyncVMCfg nothing is redefined"
    one.virsh("destroy", cluster.guest)

    done = cluster.run(one, "online", *RESYNC)
    assert done.returncode == 5
    assert f"redefined from {cluster.copy}" in done.stderr
    assert "98304" in one.virsh("dumpxml", cluster.guest)
    assert cluster.definition(one) == old.replace("65536", "98304"), "uuid and MAC are the same"

    one.virsh("destroy", cluster.guest)
    done = cluster.run(one, "online", *RESYNC)
    assert done.returncode == 5
    assert "redefined" not in done.stderr, "what libvirt adds itself is no difference"


BAD = {
    "missing": None,
    "empty": "",
    "half written": "HALF",
    "another uuid": "UUID",
    "another guest": "NAME",
    "refused by libvirt": "<domain type='kvm'><name>NAME</name><uuid>SAME</uuid></domain>",
    "unknown machine": "MACHINE",
    "with an entity": "<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/shadow'>]>ALL",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_document_costs_nothing_and_keeps_nobody_down(cluster: Cluster, kind: str) -> None:
    one = cluster.one
    one.define(bare(cluster.guest, extra=NIC))
    old = cluster.definition(one)
    found = re.search(r"<uuid>(.*)</uuid>", old)
    assert found
    uuid = found[1]
    changed = old.replace("65536", "98304")
    bad = BAD[kind]
    if bad is not None:
        text = {
            "HALF": changed[: len(changed) // 2],
            "UUID": changed.replace(uuid, "11111111-2222-3333-4444-555555555555"),
            "NAME": changed.replace(f"<name>{cluster.guest}<", "<name>somebody<"),
            "MACHINE": re.sub(r"machine='[^']*'", "machine='nonsense'", changed),
        }.get(bad, bad.replace("ALL", changed))
        text = text.replace("<name>NAME<", f"<name>{cluster.guest}<").replace("SAME", uuid)
        cluster.copy.write_text(text)
    done = cluster.run(one, "online", *RESYNC)
    assert done.returncode == 5, done.stderr
    assert "WARNING: ResyncVMCfg: " in done.stderr
    assert "Starting what is defined here" in done.stderr
    assert cluster.is_running(one)
    assert cluster.definition(one) == old

    asked = cluster.run(one, "actions/vmconfigsync", "ACTION_ARGS", "1", "redefine")
    assert asked.returncode == 1, "a running guest is left alone"
    one.virsh("destroy", cluster.guest)
    asked = cluster.run(one, "actions/vmconfigsync", "ACTION_ARGS", "1", "redefine")
    assert asked.returncode == 1
    assert cluster.definition(one) == old


def test_a_document_that_does_not_start_is_taken_back(cluster: Cluster) -> None:
    one = cluster.one
    one.define(bare(cluster.guest))
    old = cluster.definition(one)
    disk = "<disk type='file'><source file='/nowhere/disk'/><target dev='hda'/></disk>"
    cluster.copy.write_text(old.replace("<devices>", f"<devices>{disk}"))
    done = cluster.run(one, "online", *RESYNC)
    assert done.returncode == 0
    assert "/nowhere/disk" in done.stderr
    assert "the previous definition is restored" in done.stderr
    assert not cluster.is_running(one)
    assert cluster.definition(one) == old


def test_a_managed_save_is_left_alone(cluster: Cluster) -> None:
    one = cluster.one
    one.define(bare(cluster.guest))
    one.virsh("start", cluster.guest)
    one.virsh("managedsave", cluster.guest)
    old = cluster.definition(one)
    cluster.copy.write_text(old.replace("65536", "98304"))
    done = cluster.run(one, "actions/vmconfigsync", "ACTION_ARGS", "1", "redefine")
    assert done.returncode == 1
    assert cluster.run(one, "online", *RESYNC).returncode == 5
    assert one.virsh("domstate", "--reason", cluster.guest) == "running (restored)"
    assert cluster.definition(one) == old


def test_a_full_disk_costs_neither_the_copy_nor_the_verdict(cluster: Cluster) -> None:
    one = cluster.one
    sync = Path("/var/sync")
    here = cluster._replace(sync=sync)
    one.run(["mkdir", "-p", str(sync)])
    one.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(sync)])
    try:
        one.define(bare(cluster.guest))
        assert here.run(one, "actions/vmconfigsync").returncode == 0
        good = one.run(["cat", str(here.copy)]).stdout
        one.run(["dd", "if=/dev/zero", f"of={sync}/filler", "bs=4k"])
        one.define(here.definition(one).replace("65536", "98304"))
        one.virsh("start", cluster.guest)
        for verb in ("offline", "clean 1"):
            done = here.run(one, verb, "DelayAfterGuestOffline", "1", "1")
            assert done.returncode == 0, done.stderr
            assert "No space left on device" in done.stderr
        assert one.run(["cat", str(here.copy)]).stdout == good
        files = one.run(["ls", "-A", str(sync)]).stdout.split()
        assert sorted(files) == sorted([here.copy.name, "filler"])
        one.run(["rm", f"{sync}/filler"])
        assert here.run(one, "actions/vmconfigsync").returncode == 0
        assert one.run(["cat", f"{here.copy}.previous"]).stdout == good
        assert "98304" in one.run(["cat", str(here.copy)]).stdout
    finally:
        one.run(["umount", str(sync)])


# An automounter that nobody serves: whoever looks into it waits for ever, as on NFS without server.
_HANGING_MOUNT = """
import ctypes, os, sys
inside, outside = os.pipe()
os.setpgid(0, 0)
options = f"fd={outside},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect"
libc = ctypes.CDLL(None)
print(libc.mount(b"kvmguest", sys.argv[1].encode(), b"autofs", 0, options.encode()), flush=True)
sys.stdin.read()
libc.umount2(sys.argv[1].encode(), 2)
"""


@pytest.fixture
def hanging(cluster: Cluster) -> Iterator[Cluster]:
    mount_point = "/var/hanging"
    cluster.one.run(["mkdir", "-p", mount_point])
    argv = ["/usr/bin/python3", "-c", _HANGING_MOUNT, mount_point]
    server = cluster.one.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == "0\n"
    yield cluster._replace(sync=Path(mount_point, "server"))
    server.communicate(timeout=10)


def test_a_sync_dir_that_hangs_delays_no_verdict_for_long(hanging: Cluster) -> None:
    one = hanging.one
    one.define(bare(hanging.guest))
    old = hanging.definition(one)
    start = time.monotonic()
    done = hanging.run(one, "online", *RESYNC)
    assert done.returncode == 5, done.stderr
    assert "reading the configuration: no answer in 10.0 s" in done.stderr
    assert hanging.is_running(one)
    assert hanging.definition(one) == old
    assert time.monotonic() - start < 20

    start = time.monotonic()
    done = hanging.run(one, "clean 4")
    assert done.returncode == 0
    assert "saving its configuration to SyncDir failed" in done.stderr
    assert not hanging.is_running(one)
    assert time.monotonic() - start < 20

    one.virsh("start", hanging.guest)
    done = hanging.run(one, "clean 4", "AEPTimeout", "1", "8")
    assert done.returncode == 0, "with 8 s there is less to wait, and the verdict is the same"


def test_config_file_gone_is_not_offline(cluster: Cluster, tmp_path: Path) -> None:
    """VirtualDomain calls such a guest stopped and leaves it running (peers do this)."""
    file = tmp_path / "guest.xml"
    file.write_text(bare(cluster.guest))
    words = ("GuestConfigFilePath", "1", str(file))
    assert cluster.run(cluster.one, "online", *words).returncode == 5
    file.unlink()
    cluster.copy.unlink()
    assert cluster.run(cluster.one, "monitor", *words).returncode == 110
    done = cluster.run(cluster.one, "offline", *words, "DelayAfterGuestOffline", "1", "1")
    assert "not down" in done.stderr
    assert cluster.run(cluster.one, "monitor", *words).returncode == 110
    assert cluster.run(cluster.one, "clean 1", *words).returncode == 0
    assert not cluster.is_running(cluster.one)
    assert cluster.copy.exists(), "and the copy is back"


def test_a_stale_node_does_not_overwrite_the_copy(cluster: Cluster) -> None:
    """An online that failed is no reason to spread this node's old definition."""
    cluster.one.define(bare(cluster.guest))
    old = cluster.definition(cluster.one)
    cluster.copy.write_text(old.replace("65536", "98304"))
    for reason in ("2", "3"):
        assert cluster.run(cluster.one, f"clean {reason}").returncode == 0
        assert "98304" in cluster.copy.read_text()
    cluster.one.virsh("start", cluster.guest)
    cluster.one.virsh("destroy", cluster.guest)
    assert cluster.run(cluster.one, "clean 4").returncode == 0
    assert "65536" in cluster.copy.read_text()


def test_a_node_without_lxml_still_cleans(cluster: Cluster, tmp_path: Path) -> None:
    cluster.one.define(bare(cluster.guest))
    cluster.one.virsh("start", cluster.guest)
    hide = 'mount --bind "$0" /usr/lib/python3/dist-packages/lxml && exec "$@"'
    words = ["GuestName", "1", cluster.guest, "SyncDir", "1", str(cluster.sync)]
    argv = ["unshare", "-m", "sh", "-c", hide, str(tmp_path), str(ROOT / "bin/clean")]
    done = cluster.one.run([*argv, "res", "4", *words], env={"KVMGUEST_DEBUG": "1"})
    assert done.returncode == 0, done.stderr
    assert "install the package python3-lxml" in done.stderr


def test_an_awkward_name(cluster: Cluster) -> None:
    odd = cluster._replace(guest=". an odd (name) *")
    cluster.one.define(bare(odd.guest))
    cluster.one.virsh("start", odd.guest)
    assert odd.run(cluster.one, "clean 4").returncode == 0
    assert odd.run(cluster.two, "online").returncode == 5
    assert odd.definition(cluster.two) == odd.definition(cluster.one)
    cluster.two.virsh("destroy", odd.guest)
    for host in (cluster.one, cluster.two):
        host.virsh("undefine", odd.guest)
