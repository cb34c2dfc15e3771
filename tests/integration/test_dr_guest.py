"""Disaster recovery proven by real guests: Debian with systemd, and each of its network managers.

bin/online starts a guest that belongs to site A without a CD (ConfigureNetwork=0), then with site
B's, then without it again. Between boots its power is cut, so that what the service wrote has to be
on the disk by itself. At last an administrator puts in the CD of site C, which has only IPv6.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kvmguest import drnet
from kvmguest.dr_iso import build_iso
from tests.lab.debian import (
    DEBIAN_PACKAGES,
    MANAGERS,
    REPORT_PORT,
    RESTART_PORT,
    SITE_A,
    build_disk,
    document,
)
from tests.lab.host import Host, Lab
from tests.lab.namespaces import LabError
from tests.lab.packages import LAB_PACKAGES, ensure_packages

pytestmark = pytest.mark.hypervisor

ROOT = Path(__file__).resolve().parents[2]
INSTALL = ROOT / "kvmguest/guest/install"
BOOT_S = 180
SITE_B = "10.20.0.5"
SITE_C = "2001:db8:20::6"
DROPTS = {
    "ConfigureNetwork": "1",
    "IPAddress": SITE_B,
    "Netmask": "255.255.255.0",
    "Gateway": "10.20.0.1",
    "DNSServers": "10.20.0.2 10.20.0.3",
    "DNSSearchPath": "b.example.com",
    "Device": "eth0",  # the guest calls it ens2
}

SITE_C_DROPTS = {
    "ConfigureNetwork": "1",
    "IPAddress": SITE_C,
    "Netmask": "64",
    "Gateway": "2001:db8:20::1",
    "DNSServers": "2001:db8:20::2",
}

# A guest that is not up yet answers nothing, then refuses, then takes its time to tell.
_ASK = f"""\
import socket, sys
with socket.create_connection((sys.argv[1], {REPORT_PORT}), 2) as guest:
    guest.settimeout(float(sys.argv[2]))
    while data := guest.recv(4096):
        sys.stdout.buffer.write(data)
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host with a switch that reaches all sites."""
    log = Path("/tmp/kvmguest-test-packages.log")
    ensure_packages([*LAB_PACKAGES, *DEBIAN_PACKAGES], log)
    with Lab() as lab:
        made = lab.host("kvm1")
        for command in (
            "ip link add sites type bridge stp_state 0 forward_delay 0",
            "ip address add 10.10.0.1/24 dev sites",
            "ip address add 10.20.0.1/24 dev sites",
            "ip address add 2001:db8:20::1/64 dev sites nodad",
            "ip link set sites up",
        ):
            done = made.run(command.split())
            assert done.returncode == 0, done.stderr
        yield made


def install(root: Path) -> None:
    subprocess.run([INSTALL, "--root", root], check=True, capture_output=True, timeout=30)


def report(host: Host, address: str, console: Path) -> dict[str, list[str]]:
    """Wait until the guest answers at this address; return what it says of its network."""
    end = time.monotonic() + BOOT_S
    while True:
        done = host.run(["/usr/bin/python3", "-S", "-c", _ASK, address, "20"])
        lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
        if done.returncode == 0 and lines[-1:] and lines[-1][0] == "boot":
            return {key: [v for k, v in lines if k == key] for key, _ in lines}
        if time.monotonic() > end:
            last = console.read_text(errors="replace")[-3000:]
            raise LabError(f"nobody answers at {address} after {BOOT_S} s; console: {last}")
        time.sleep(0.5)


def restart_service(host: Host, address: str) -> None:
    """Do what an administrator does who has put in a CD and does not want to reboot."""
    ask = _ASK.replace(str(REPORT_PORT), str(RESTART_PORT))
    host.run(["/usr/bin/python3", "-S", "-c", ask, address, "6"])  # the address may go


def online(host: Host, guest: str, options: Mapping[str, str]) -> str:
    """What VCS does; returns the log."""
    words = [word for pair in options.items() for word in pair]
    tuples = ["GuestName", "1", guest, "DROpts", str(len(words)), *words, "AEPTimeout", "1", "60"]
    argv = [str(ROOT / "bin/online"), "res", *tuples]
    done = host.run(argv, env={"KVMGUEST_DEBUG": "1"})
    assert done.returncode == 5, done.stderr
    return done.stderr


def payload(options: dict[str, str]) -> str:
    parameters = drnet.parse(options)
    assert parameters is not None
    return drnet.payload(parameters)


def make_cd(path: Path, text: str) -> Path:
    path.write_bytes(build_iso(text))
    return path


def make_cd_like_rhev_m_3_1(path: Path, text: str) -> Path:
    """Make the CD as hosts of RHEV-M 3.1 and 3.2 do, which cannot give it a label."""
    folder = path.with_suffix(".folder")
    folder.mkdir(exist_ok=True)
    (folder / drnet.FILE_NAME).write_text(text, encoding="ascii")
    command = ["genisoimage", "-quiet", "-J", "-R", "-o", str(path), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return path


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_failover_to_another_site_and_what_remains_of_it(manager: str, host: Host) -> None:
    shared = host.directory.parent / "shared"
    disk, console = shared / f"{manager}.raw", shared / f"{manager}.console"
    image = build_disk(manager, disk, install)
    site_c = make_cd(shared / "c.iso", payload(SITE_C_DROPTS))
    without = {**DROPTS, "ConfigureNetwork": "0"}
    bad = make_cd_like_rhev_m_3_1(shared / "bad.iso", payload(DROPTS) + "Device=eth0;reboot\n")

    host.define(document(manager, image, disk, console, drive=False))
    online(host, manager, without)
    own = report(host, SITE_A, console)
    host.virsh("destroy", manager)
    assert own["address"] == [f"{SITE_A}/24"]
    assert own["gateway"] == ["10.10.0.1"]
    assert own["status"] == ["nothing has been applied on this system"]
    assert any("no CD with the label VCSNETCFG" in line for line in own["journal"])

    host.undefine(manager)
    host.define(document(manager, image, disk, console))
    assert "on CD /var/lib/kvmguest/dr.d/" in online(host, manager, DROPTS)
    moved = report(host, SITE_B, console)
    host.virsh("destroy", manager)
    assert moved["address"] == [f"{SITE_B}/24"]
    assert moved["gateway"] == ["10.20.0.1"]
    assert moved["dns"] == ["10.20.0.2", "10.20.0.3"]
    assert f"{SITE_B}/24 on ens2 through {manager}" in moved["status"][0]

    assert "its CD is removed" in online(host, manager, without)
    kept = report(host, SITE_B, console)
    assert kept["boot"] != moved["boot"]
    same = ("address", "gateway", "dns", "status")
    assert [kept[key] for key in same] == [moved[key] for key in same]

    host.virsh("change-media", manager, "hda", str(bad), "--insert", "--live")
    restart_service(host, SITE_B)
    refused = report(host, SITE_B, console)
    assert [refused[key] for key in same] == [moved[key] for key in same]
    assert "line 9 repeats the key 'Device'" in refused["journal"]

    host.virsh("change-media", manager, "hda", str(site_c), "--update", "--live")
    restart_service(host, SITE_B)
    by_hand = report(host, SITE_C, console)
    host.virsh("destroy", manager)
    host.undefine(manager)
    assert by_hand["address"] == [f"{SITE_C}/64"]
    assert by_hand["gateway"] == ["2001:db8:20::1"]
    assert by_hand["dns"] == ["2001:db8:20::2"]
