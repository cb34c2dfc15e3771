"""vcs-net-reconfig's choices: which network manager, which card; and its installer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.contract import guest_roots as guests
from tests.contract.test_guest_service import REPO, applied, cd, refused

INSTALL = REPO / "kvmguest/guest/install"
NO_DEVICE = guests.V4.replace("Device=eth0\n", "")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return cd(tmp_path / "cd", NO_DEVICE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return guests.build(tmp_path / "root", guests.Scene((), {}))


def chosen(root: Path, source: Path) -> str:
    """Return the manager that the service says it used."""
    return applied(root, source).split(" through ")[1].split(";")[0]


def put(root: Path, name: str, text: str = "") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# --- which manager --------------------------------------------------------------------------------


def test_installed_is_not_used(root: Path, source: Path) -> None:
    put(root, "lib/systemd/systemd-networkd")
    put(root, "usr/sbin/NetworkManager")
    put(root, "usr/lib/systemd/system/NetworkManager.service")
    assert "no known network manager" in refused(root, source)
    guests.enable(root, "networking.service")
    assert chosen(root, source) == "ifupdown"


def test_a_masked_service_is_not_used(root: Path, source: Path) -> None:
    guests.enable(root, "NetworkManager.service", "systemd-networkd.service")
    (root / "etc/systemd/system/NetworkManager.service").symlink_to("/dev/null")
    assert chosen(root, source) == "networkd"


def test_a_service_enabled_by_a_generator_is_used(root: Path, source: Path) -> None:
    link = "run/systemd/generator.late/multi-user.target.wants/systemd-networkd.service"
    put(root, link)
    assert chosen(root, source) == "networkd"


def test_red_hats_network_service_is_found_by_its_run_level_link(root: Path, source: Path) -> None:
    put(root, "etc/rc.d/rc3.d/S10network")
    assert chosen(root, source) == "network_scripts"


def test_debians_desktop_has_both_and_the_stanza_decides(tmp_path: Path, source: Path) -> None:
    units = ("networking.service", "NetworkManager.service")
    loopback = "auto lo\niface lo inet loopback\n"
    for stanza, manager in (("", "networkmanager"), ("iface ens2 inet dhcp\n", "ifupdown")):
        files = {"etc/network/interfaces": loopback + stanza}
        root = guests.build(tmp_path / manager, guests.Scene(units, files))
        assert chosen(root, source) == manager


def test_netplans_networkd_comes_before_networkmanager(root: Path, source: Path) -> None:
    guests.enable(root, "NetworkManager.service", "systemd-networkd.service")
    put(root, "run/systemd/network/10-netplan-ens2.network", "[Match]\nName=ens2\n")
    assert chosen(root, source) == "networkd"


@pytest.mark.parametrize(
    ("files", "manager"),
    [
        (("ifcfg-ens2", "plugin"), "network_scripts"),  # RHEL 7 and 8
        (("ifcfg-ens2",), "networkmanager"),  # RHEL 10: nothing reads it any more
        (("ifcfg-lo", "plugin"), "networkmanager"),  # RHEL 9
        (("ifcfg-ens3", "plugin"), "network_scripts"),  # the guest's way, though not for this card
        (("ifcfg-ens3", "plugin", "keyfile"), "networkmanager"),
    ],
)
def test_networkmanager_keeps_the_format_that_is_in_use(
    files: tuple[str, ...], manager: str, root: Path, source: Path
) -> None:
    guests.enable(root, "NetworkManager.service", "network.service")
    scripts = "etc/sysconfig/network-scripts/"
    for name in files:
        if name == "plugin":
            put(root, "usr/lib64/NetworkManager/libnm-settings-plugin-ifcfg-rh.so")
        elif name == "keyfile":
            text = "[connection]\ninterface-name=ens2\n"
            put(root, "etc/NetworkManager/system-connections/x.nmconnection", text)
        else:
            put(root, scripts + name, "DEVICE=" + name[6:] + "\n")
    assert chosen(root, source) == manager


def test_a_directory_is_no_sign_of_red_hats_files(root: Path, source: Path) -> None:
    guests.enable(root, "NetworkManager.service")
    put(root, "usr/lib64/NetworkManager/libnm-settings-plugin-ifcfg-rh.so")
    put(root, "etc/sysconfig/network-scripts/ifcfg-backup/ifcfg-ens2", "DEVICE=ens2\n")
    assert chosen(root, source) == "networkmanager"


# --- name servers ---------------------------------------------------------------------------------


def test_resolved_gets_the_servers_from_networkd(root: Path, source: Path) -> None:
    guests.enable(root, "systemd-networkd.service", "systemd-resolved.service")
    (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    applied(root, source)
    assert (root / "etc/resolv.conf").is_symlink()


def test_a_hook_for_resolved_is_not_resolved(root: Path, source: Path) -> None:
    """Debian 12's ifupdown brings the hook along, whether resolved is there or not."""
    guests.enable(root, "networking.service")
    put(root, "etc/network/if-up.d/resolved")
    applied(root, source)
    assert "nameserver 10.20.0.2\n" in (root / "etc/resolv.conf").read_text()


def test_resolvconf_gets_the_servers_from_ifupdown(root: Path, source: Path) -> None:
    guests.enable(root, "networking.service")
    put(root, "sbin/resolvconf")
    put(root, "etc/resolv.conf", "nameserver 10.10.0.2\n")
    applied(root, source)
    assert (root / "etc/resolv.conf").read_text() == "nameserver 10.10.0.2\n"


def test_a_link_that_leads_nowhere_becomes_a_file(root: Path, source: Path) -> None:
    guests.enable(root, "networking.service")
    (root / "etc/resolv.conf").symlink_to("../run/gone")
    applied(root, source)
    assert not (root / "etc/resolv.conf").is_symlink()
    assert "nameserver 10.20.0.2\n" in (root / "etc/resolv.conf").read_text()


def test_without_servers_on_the_cd_resolv_conf_stays(root: Path, tmp_path: Path) -> None:
    guests.enable(root, "networking.service")
    put(root, "etc/resolv.conf", "nameserver 10.10.0.2\n")
    lines = [line for line in NO_DEVICE.splitlines() if not line.startswith("DNS")]
    applied(root, cd(tmp_path / "cd", "\n".join(lines)))
    assert (root / "etc/resolv.conf").read_text() == "nameserver 10.10.0.2\n"


# --- which card -----------------------------------------------------------------------------------


def cards(tmp_path: Path, **buses: str) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    guests.enable(root, "systemd-networkd.service")
    for name, bus in buses.items():
        guests.add_nic(root, name, bus)
    return root


@pytest.mark.parametrize(
    ("device", "buses", "card"),
    [
        ("", {"ens9": "0000:00:1f.0/virtio1", "ens3": "0000:00:03.0/virtio2"}, "ens3"),
        ("", {"a": "0000:00:1f.0/v0", "b": "0000:00:0a.0/v1", "c": "0000:00:10.0/v2"}, "b"),
        ("", {"a": "0000:00:02.1/0000:02:00.0/v0", "b": "0000:00:02.0/0000:01:00.0/v1"}, "b"),
        ("", {"a": "xen/vif-10", "b": "xen/vif-9"}, "b"),
        ("", {"veth0": "", "br0": "", "ens5": "0000:00:05.0/v0"}, "ens5"),
        ("eth0", {"ens9": "0000:00:09.0/v0", "ens3": "0000:00:03.0/v1"}, "ens3"),
        ("eth1", {"ens9": "0000:00:09.0/v0", "ens3": "0000:00:03.0/v1"}, "ens9"),
        ("eth1", {"eth0": "0000:00:09.0/v0", "eth1": "0000:00:03.0/v1"}, "eth1"),
        ("ens9", {"ens9": "0000:00:09.0/v0", "ens3": "0000:00:03.0/v1"}, "ens9"),
    ],
)
def test_the_card(device: str, buses: dict[str, str], card: str, tmp_path: Path) -> None:
    root = cards(tmp_path, **buses)
    text = NO_DEVICE + (f"Device={device}\n" if device else "")
    assert f" on {card} through " in applied(root, cd(tmp_path / "cd", text))


@pytest.mark.parametrize("device", ["eth2", "br0", "ens4"])
def test_a_card_that_is_not_there_is_refused(device: str, tmp_path: Path) -> None:
    root = cards(tmp_path, eth0="0000:00:03.0/v1", ens9="0000:00:09.0/v0", br0="")
    said = refused(root, cd(tmp_path / "cd", NO_DEVICE + f"Device={device}\n"))
    assert f"no network card {device}; the cards here: eth0, ens9" in said


def test_wireless_and_oddly_named_cards_are_no_choice(tmp_path: Path) -> None:
    root = cards(tmp_path)
    guests.add_nic(root, "wlp1s0", "0000:00:01.0", extra="phy80211")
    guests.add_nic(root, "ib0", "0000:00:02.0", kind="32")
    guests.add_nic(root, "a;b", "0000:00:03.0")
    assert "the cards here: none" in refused(root, cd(tmp_path / "cd", NO_DEVICE))


# --- a port of a bond, a bridge or a team ---------------------------------------------------------

KEYFILE = "[connection]\nid=x\ninterface-name=ens2\n"
PORTS = {
    "etc/sysconfig/network-scripts/ifcfg-ens2": ("MASTER=bond0", 'BRIDGE="br0"', "OVS_BRIDGE=b"),
    "etc/sysconfig/network-scripts/ifcfg-port1": (
        "DEVICE=ens2\nTEAM_MASTER='team0'",
        f"HWADDR={guests.MAC.upper()}\nMASTER_UUID=0b1c6c8e",
    ),
    "etc/NetworkManager/system-connections/x.nmconnection": (
        KEYFILE + "master=bond0",
        KEYFILE + "controller=0b1c6c8e",
    ),
    "run/NetworkManager/system-connections/netplan-x.nmconnection": (KEYFILE + "master=br0",),
    "etc/systemd/network/10-x.network": (
        "[Match]\nName=ens2\n[Network]\nBond=bond0",
        "[Match]\nName=en*\n[Network]\nBridge = br0",
        "[Match]\nType=ether\n[Network]\nBridge=br0",
    ),
    "run/systemd/network/10-netplan-ens2.network": ("[Match]\nName=ens2\n[Network]\nBond=bond0",),
    "etc/network/interfaces": (
        "iface ens2 inet manual\n    mtu 9000\n    bond-master bond0",
        "iface ens2 inet6 manual\nauto bond0\niface ens2 inet manual\n\tbond_master bond0",
        "iface bond0 inet dhcp\n    bond-slaves ens3 \\\n        ens2",
        "iface bond0 inet dhcp\n    slaves ens2 ens3",
        "iface br0 inet dhcp\n    bridge_ports ens2",
        "iface br0 inet dhcp\n    bridge-ports all",
    ),
    "etc/sysconfig/network/ifcfg-x0": (
        "BONDING_SLAVE_0='ens2'",
        "BONDING_SLAVE1=ens2",
        "BRIDGE_PORTS='ens3 ens2'",
        'TEAM_PORT_DEVICE_1="ens2"',
        "OVS_BRIDGE_PORT_DEVICE_1='ens2'",
    ),
}


@pytest.mark.parametrize(("name", "text"), [(n, text) for n in PORTS for text in PORTS[n]])
def test_a_port_of_a_bond_is_left_in_it(name: str, text: str, root: Path, source: Path) -> None:
    guests.enable(root, "NetworkManager.service", "networking.service")
    put(root, name, text + "\n")
    said = refused(root, source)
    assert f"ens2 is a port of a bond, a bridge or a team (/{name}: " in said
    assert text.rsplit(maxsplit=1)[-1].strip("'") in said
    assert "name another card as Device" in said


def test_a_card_that_is_a_port_already_is_left_in_it(root: Path, source: Path) -> None:
    guests.enable(root, "systemd-networkd.service")
    (root / "sys/devices/pci0000:00/0000:00:02.0/virtio0/net/ens2/master").symlink_to("../bond0")
    assert "a bridge or a team (/sys/class/net/ens2/master)" in refused(root, source)


NETPLANS = "run/NetworkManager/system-connections/netplan-ens2.nmconnection"
OTHERS = {
    "etc/sysconfig/network-scripts/ifcfg-ens2": "DEVICE=ens2\n#MASTER=bond0\nMASTER=\nBRIDGE=''\n",
    "etc/sysconfig/network-scripts/ifcfg-ens3": "DEVICE=ens3\nMASTER=bond0\n",
    "etc/sysconfig/network/ifcfg-br0": "BRIDGE='yes'\nBRIDGE_PORTS='ens20 xens2'\n",
    "etc/network/interfaces": (
        "iface ens2 inet dhcp\niface ens3 inet manual\n    bond-master bond0\n"
        "iface bond0 inet dhcp\n    bond-slaves none\n    # bridge_ports ens2\n"
        "    bridge_ports ens20 ens2.7\n"
    ),
    "etc/NetworkManager/system-connections/x.nmconnection": (
        "[connection]\ninterface-name=ens3\nmaster=bond0\n"
    ),
    NETPLANS: "[connection]\ninterface-name=ens2\n",
    "etc/systemd/network/10-x.network": "[Match]\nName=ens2\n[Network]\nDHCP=yes\n",
    # networkd takes the first that fits, so this one is not for our card:
    "etc/systemd/network/20-all.network": "[Match]\nName=en*\n[Network]\nBond=bond0\n",
}


@pytest.mark.parametrize("unit", ["networking", "NetworkManager", "systemd-networkd", "wicked"])
def test_a_card_beside_a_bond_is_no_port(unit: str, root: Path, source: Path) -> None:
    guests.enable(root, unit + ".service")
    for name, text in OTHERS.items():
        put(root, name, text)
    assert " on ens2 through " in applied(root, source)
    assert (root / NETPLANS).exists()  # the next boot would make it anew


def test_another_card_is_taken_where_device_names_it(root: Path, tmp_path: Path) -> None:
    guests.enable(root, "networking.service")
    put(root, "etc/network/interfaces", "iface bond0 inet dhcp\n    bond-slaves ens2\n")
    assert " on ens3 through " in applied(root, cd(tmp_path / "cd", NO_DEVICE + "Device=ens3\n"))


# --- installing -----------------------------------------------------------------------------------


def install(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(INSTALL), "--root", str(root), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_installed_in_an_image_it_is_enabled_and_leaves_without_a_trace(root: Path) -> None:
    put(root, "etc/systemd/system.conf")
    put(root, "usr/bin/python3")
    before = guests.snapshot(root)
    done = install(root)
    assert (done.returncode, done.stderr) == (0, "")
    program = root / "usr/local/sbin/vcs-net-reconfig"
    assert program.stat().st_mode & 0o777 == 0o755
    assert program.read_text().startswith("#!/usr/bin/python3 -I\n")
    asked = ["systemctl", "--root", str(root), "is-enabled", "vcs-net-reconfig.service"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "enabled\n"
    assert install(root).returncode == 0  # again
    assert install(root, "--uninstall").returncode == 0
    assert guests.snapshot(root) == before


def test_the_unit_is_sound(tmp_path: Path) -> None:
    """Checked by systemd itself, with a program where the unit expects it."""
    unit = (INSTALL.parent / "vcs-net-reconfig.service").read_text()
    copy = tmp_path / "vcs-net-reconfig.service"
    program = str(INSTALL.parent / "vcs-net-reconfig")
    copy.write_text(unit.replace("/usr/local/sbin/vcs-net-reconfig", program))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    about_us = [line for line in done.stderr.splitlines() if "vcs-net-reconfig" in line]
    assert about_us == []


def test_red_hats_own_python_is_used_where_there_is_no_other(root: Path) -> None:
    put(root, "etc/systemd/system.conf")
    put(root, "usr/libexec/platform-python")
    assert install(root).returncode == 0
    program = root / "usr/local/sbin/vcs-net-reconfig"
    assert program.read_text().startswith("#!/usr/libexec/platform-python -I\n")


def test_without_python_or_systemd_nothing_is_installed(root: Path, tmp_path: Path) -> None:
    put(root, "etc/systemd/system.conf")
    before = guests.snapshot(root)
    done = install(root)
    assert done.returncode == 1
    assert "install python3" in done.stderr
    assert guests.snapshot(root) == before
    (tmp_path / "empty").mkdir()
    done = install(tmp_path / "empty")
    assert done.returncode == 1
    assert "no systemd" in done.stderr
