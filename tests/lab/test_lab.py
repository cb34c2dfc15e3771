"""The laboratory does what the tests that stand on it take for granted."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guest import READY, bare, obedient, read_heartbeat, wait_for_console
from tests.lab.host import Host, Lab, VirshError
from tests.lab.image import Image, build_image
from tests.lab.namespaces import LabError, is_alive
from tests.lab.packages import (
    LAB_PACKAGES,
    PackagesMissingError,
    ensure_packages,
    missing_packages,
)

pytestmark = pytest.mark.hypervisor

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    ensure_packages(
        [*LAB_PACKAGES, "procps", "xorriso"], tmp_path_factory.mktemp("packages") / "log"
    )
    return build_image()


@pytest.fixture(scope="module")
def lab(image: Image) -> Iterator[Lab]:
    assert image.kernel.exists()
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def kvm1(lab: Lab) -> Host:
    return lab.host("kvm1", lock_manager=True)


@pytest.fixture(scope="module")
def kvm2(lab: Lab, kvm1: Host) -> Host:
    assert kvm1.number == 1
    return lab.host("kvm2", lock_manager=True)


@pytest.fixture
def console(lab: Lab, request: pytest.FixtureRequest) -> Path:
    return lab.shared / f"{request.node.name}.console"


@pytest.fixture
def disk(lab: Lab, request: pytest.FixtureRequest) -> Path:
    path = lab.shared / f"{request.node.name}.disk"
    path.write_bytes(b"\0" * 65536)
    return path


@pytest.fixture(autouse=True)
def _no_guests_left(lab: Lab) -> Iterator[None]:
    yield
    for host in (host for host in lab.hosts if host.is_on):
        for guest in host.virsh("list", "--name").split():
            host.virsh("destroy", guest)
        for guest in host.virsh("list", "--name", "--all").split():
            host.undefine(guest)


def start(host: Host, document: str, console: Path | None = None) -> str:
    """Define and start a guest, wait until it is ready where that can be seen; return its name."""
    host.define(document)
    name = document.partition("<name>")[2].partition("</name>")[0]
    host.virsh("start", name)
    if console:
        wait_for_console(console, READY)
    return name


def virsh_outside(*args: str) -> str:
    """Run virsh as a client that is on none of the hosts."""
    argv = ["virsh", "--quiet", *args]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def test_no_package_is_missing_after_ensure_packages(image: Image) -> None:
    assert image.initramfs.exists()
    assert missing_packages([*LAB_PACKAGES, "no-such-package"]) == ["no-such-package"]


def test_a_package_that_cannot_be_had_is_an_error(tmp_path: Path, image: Image) -> None:
    assert image.kernel.exists()
    with pytest.raises(PackagesMissingError, match="no-such-package"):
        ensure_packages(["no-such-package"], tmp_path / "log")
    assert "no-such-package" in (tmp_path / "log").read_text(encoding="utf-8")


def test_commands_run_inside_the_host(kvm1: Host) -> None:
    done = kvm1.run(["sh", "-c", "cat; hostname; echo $WORD; exit 7"], {"WORD": "w"}, stdin="in\n")
    assert (done.returncode, done.stdout) == (7, "in\nkvm1\nw\n")
    assert kvm1.run(["sh", "-c", "kill -9 $$"]).returncode == -signal.SIGKILL


def test_a_command_that_takes_too_long_is_killed_with_all_it_started(kvm1: Host) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        kvm1.run(["sh", "-c", "sleep 1234 & sleep 1234"], timeout=0.3)
    time.sleep(0.1)
    assert "sleep" not in kvm1.run(["ps", "-e", "-o", "comm"]).stdout


def test_libvirt_answers_inside_and_outside(kvm1: Host) -> None:
    assert kvm1.virsh("uri") == "qemu:///system"
    assert virsh_outside("-c", kvm1.uri, "hostname") == "kvm1"


def test_hosts_are_told_apart(kvm1: Host, kvm2: Host) -> None:
    start(kvm1, bare("only-here"))
    assert kvm1.virsh("list", "--name") == "only-here"
    assert not kvm2.virsh("list", "--all", "--name")
    assert kvm2.virsh("-c", kvm1.peer_uri, "list", "--name") == "only-here"
    assert kvm2.virsh("-c", "qemu+tcp://kvm1/system", "list", "--name") == "only-here"
    kvm1.run(["touch", "/etc/mark", "/var/lib/mark", "/run/mark"])
    for path in ("/etc/mark", "/var/lib/mark", "/run/mark"):
        assert kvm1.run(["test", "-e", path]).returncode == 0
        assert kvm2.run(["test", "-e", path]).returncode == 1
        assert not Path(path).exists()


def test_a_guest_boots_and_obeys_the_power_button(kvm1: Host, image: Image, console: Path) -> None:
    guest = start(kvm1, obedient("obedient", image, console, tag="east"), console)
    assert "guest: ready east" in console.read_text(encoding="ascii")
    kvm1.virsh("shutdown", guest)
    kvm1.wait_for_state(guest, "shut off (shutdown)", timeout=10)


def test_a_deaf_guest_ignores_the_power_button(kvm1: Host, image: Image, console: Path) -> None:
    guest = start(kvm1, obedient("deaf", image, console, words=["deaf"]), console)
    kvm1.virsh("shutdown", guest)
    time.sleep(2)
    assert kvm1.virsh("domstate", guest) == "running"


def test_a_guest_suspends_and_wakes_up(kvm1: Host, image: Image, console: Path) -> None:
    guest = start(kvm1, obedient("sleeper", image, console), console)
    kvm1.virsh("send-key", guest, "KEY_SLEEP")
    kvm1.wait_for_state(guest, "pmsuspended (unknown)")
    kvm1.virsh("dompmwakeup", guest)
    wait_for_console(console, "guest: awake")
    assert kvm1.virsh("domstate", guest) == "running"


def test_a_guest_panics(kvm1: Host, image: Image, console: Path) -> None:
    guest = start(kvm1, obedient("panicking", image, console, panic=True), console)
    kvm1.virsh("inject-nmi", guest)
    kvm1.wait_for_state(guest, "crashed (panicked)")
    assert is_alive(kvm1.qemu_pid(guest))


def test_a_guest_reads_its_cd(lab: Lab, kvm1: Host, image: Image, console: Path) -> None:
    (lab.shared / "cd").mkdir()
    (lab.shared / "cd/payload.conf").write_text("Version=1\n", encoding="ascii")
    iso = lab.shared / "payload.iso"
    make = ["xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", str(iso), str(lab.shared / "cd")]
    subprocess.run(make, check=True, capture_output=True)
    start(kvm1, obedient("reader", image, console, cdrom=iso), console)
    assert "guest: cd: payload.conf" in console.read_text(encoding="ascii")
    assert "Version=1" in console.read_text(encoding="ascii")


def test_libvirtd_frozen_and_thawed(kvm1: Host) -> None:
    kvm1.freeze_libvirtd()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            kvm1.virsh("list", timeout=1)
    finally:
        kvm1.thaw_libvirtd()
    kvm1.virsh("list", timeout=5)


def test_a_guest_survives_libvirtd(kvm1: Host) -> None:
    guest = start(kvm1, bare("survivor"))
    qemu, libvirtd = kvm1.qemu_pid(guest), kvm1.libvirtd_pid
    kvm1.kill_libvirtd()
    assert not is_alive(libvirtd)
    with pytest.raises(VirshError, match="refused"):
        kvm1.virsh("list")
    with pytest.raises(LabError, match="libvirtd"):
        kvm1.kill_libvirtd()
    kvm1.start_libvirtd()
    assert kvm1.virsh("domstate", guest) == "running"
    assert kvm1.qemu_pid(guest) == qemu
    assert kvm1.libvirtd_pid != libvirtd
    assert virsh_outside("-c", kvm1.uri, "domstate", guest) == "running"


def test_qemu_frozen_thawed_and_killed(kvm1: Host) -> None:
    guest = start(kvm1, bare("victim"))
    kvm1.freeze_qemu(guest)
    with pytest.raises(subprocess.TimeoutExpired):
        kvm1.virsh("qemu-monitor-command", guest, '{"execute":"query-status"}', timeout=1)
    kvm1.thaw_qemu(guest)
    kvm1.virsh("qemu-monitor-command", guest, '{"execute":"query-status"}', timeout=5)
    kvm1.kill_qemu(guest)
    kvm1.wait_for_state(guest, "shut off (crashed)")
    with pytest.raises(LabError, match="QEMU of victim"):
        kvm1.qemu_pid(guest)


@pytest.mark.parametrize("target", ["uri", "peer_uri", "by name"])
@pytest.mark.parametrize("way", [[], ["--p2p"]], ids=["client-managed", "p2p"])
def test_a_guest_migrates_live(kvm1: Host, kvm2: Host, target: str, way: list[str]) -> None:
    guest = start(kvm1, bare("traveller"))
    uri = {
        "uri": kvm2.uri,
        "peer_uri": kvm2.peer_uri,
        "by name": "qemu+tcp://kvm2/system",
    }[target]
    kvm1.virsh("migrate", "--live", "--persistent", *way, guest, uri)
    assert kvm1.virsh("domstate", "--reason", guest) == "shut off (migrated)"
    assert kvm2.virsh("domstate", "--reason", guest) == "running (migrated)"


def test_a_client_outside_migrates_a_guest(kvm1: Host, kvm2: Host) -> None:
    guest = start(kvm1, bare("traveller"))
    virsh_outside("-c", kvm1.uri, "migrate", "--live", "--persistent", guest, kvm2.uri)
    assert kvm2.virsh("domstate", "--reason", guest) == "running (migrated)"


def test_migration_data_takes_the_address_the_host_says(lab: Lab, kvm1: Host) -> None:
    guest = start(kvm1, bare("traveller"))
    with lab.host("kvm3", migration_address="10.99.0.77") as kvm3:
        migrate = ("migrate", "--live", "--persistent", guest, kvm3.peer_uri)
        with pytest.raises(VirshError, match=r"10\.99\.0\.77"):
            kvm1.virsh(*migrate)
        kvm3.run(["ip", "addr", "add", "10.99.0.77/24", "dev", "eth0"])
        kvm1.virsh(*migrate)
        assert kvm3.virsh("domstate", "--reason", guest) == "running (migrated)"


def test_a_writer_goes_on_writing_after_a_migration(
    kvm1: Host, kvm2: Host, image: Image, console: Path, disk: Path
) -> None:
    document = obedient("writer", image, console, words=["writer"], disk=disk)
    guest = start(kvm1, document, console)
    time.sleep(0.5)
    before = read_heartbeat(disk)
    kvm1.virsh("migrate", "--live", "--persistent", "--unsafe", guest, kvm2.peer_uri)
    arrived = read_heartbeat(disk)
    time.sleep(1)
    after = read_heartbeat(disk)
    assert before
    assert arrived
    assert after
    assert before.beats < arrived.beats < after.beats
    assert before.boot == after.boot
    assert (after.tag, after.foreign) == ("writer", 0)


def test_a_loaded_guest_migrates_slowly(
    kvm1: Host, kvm2: Host, image: Image, console: Path
) -> None:
    guest = start(kvm1, obedient("heavy", image, console, load_mib=32), console)
    wait_for_console(console, "guest: loaded")
    kvm1.virsh("migrate-setspeed", guest, "64")
    pipe = subprocess.PIPE
    migrate = ["virsh", "migrate", "--live", "--p2p", guest, kvm2.peer_uri]
    with kvm1.popen(migrate, stdout=pipe, stderr=pipe) as migration:
        time.sleep(4)
        assert migration.poll() is None
        kvm1.virsh("domjobabort", guest)
        assert "canceled by client" in migration.communicate(timeout=10)[1]
    assert kvm1.virsh("domstate", guest) == "running"


def test_two_writers_find_each_other(
    lab: Lab, kvm1: Host, kvm2: Host, image: Image, disk: Path
) -> None:
    consoles = []
    for host in (kvm1, kvm2):
        consoles.append(lab.shared / f"twin-{host.name}.console")
        document = obedient(
            "twin", image, consoles[-1], words=["writer"], disk=disk, shareable=True
        )
        start(host, document, consoles[-1])
    for console in consoles:
        wait_for_console(console, "guest: another writer: twin", timeout=10)
    beat = read_heartbeat(disk)
    assert beat
    assert beat.foreign > 0


def test_a_disk_in_use_on_another_host_is_locked_by_qemu(
    kvm1: Host, kvm2: Host, image: Image, console: Path, disk: Path
) -> None:
    document = obedient("single", image, console, disk=disk)
    start(kvm1, document, console)
    kvm2.define(document)
    with pytest.raises(VirshError, match='Failed to get "write" lock'):
        kvm2.virsh("start", "single")


def test_the_lock_manager_respects_a_lease_held_elsewhere(
    lab: Lab, kvm2: Host, image: Image, console: Path, disk: Path
) -> None:
    # Between two guests QEMU's own lock comes first: another process plays the first host's part.
    kvm2.define(obedient("single", image, console, disk=disk))
    lease = lab.shared / "lockspace" / hashlib.sha256(os.fsencode(disk)).hexdigest()
    with lease.open("w", encoding="ascii") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        with pytest.raises(VirshError, match=r"resource busy: Lockspace resource .* is locked"):
            kvm2.virsh("start", "single")
    kvm2.virsh("start", "single")


def test_a_host_without_power_is_silent_and_comes_back(kvm1: Host, kvm2: Host) -> None:
    guest = start(kvm2, bare("lost"))
    qemu = kvm2.qemu_pid(guest)
    kvm2.power_off()
    assert not is_alive(qemu)
    with pytest.raises(LabError, match="switched off"):
        kvm2.run(["true"])
    with pytest.raises(subprocess.TimeoutExpired):
        kvm1.virsh("-c", kvm2.peer_uri, "list", timeout=1)
    kvm2.power_on()
    assert kvm2.virsh("domstate", guest) == "shut off"
    assert kvm1.virsh("-c", kvm2.peer_uri, "list", "--all", "--name") == guest


def test_a_cut_cable_is_noticed(lab: Lab, kvm1: Host, kvm2: Host) -> None:
    connect = ["bash", "-c", f"exec 3<>/dev/tcp/{kvm2.address}/16509"]
    assert kvm1.run(connect, timeout=20).returncode == 0
    lab.network.cut(kvm2.number)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            kvm1.run(connect, timeout=1)
    finally:
        lab.network.mend(kvm2.number)
    assert kvm1.run(connect, timeout=10).returncode == 0


@pytest.mark.parametrize("place", ["/var/tmp/x", "/tmp/" + 80 * "x"])
def test_a_place_where_hosts_cannot_work_is_refused(lab: Lab, place: str) -> None:
    with pytest.raises(LabError):
        Host(Path(place), "kvm9", lab.network, 9, lab.shared)
    assert not Path(place).exists()


def test_two_processes_build_one_image(tmp_path: Path, image: Image) -> None:
    # The kernel is there already, so that the mirror is not asked twice for one file.
    kernel = tmp_path / image.kernel.parent.name
    kernel.mkdir()
    (kernel / "vmlinuz").symlink_to(image.kernel)
    (kernel / "modules").symlink_to(image.kernel.parent / "modules")
    build = f"from tests.lab.image import *; print(build_image(Path({str(tmp_path)!r})).initramfs)"
    pipe = subprocess.PIPE
    runs = [
        subprocess.Popen([sys.executable, "-c", build], cwd=ROOT, stdout=pipe) for _ in range(2)
    ]
    first, second = (run.communicate(timeout=60)[0].decode().strip() for run in runs)
    assert first == second
    assert Path(first).read_bytes()[:2] == b"\x1f\x8b"
    assert [path.name for path in kernel.glob("*initramfs*")] == [Path(first).name]
