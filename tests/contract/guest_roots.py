"""Root file systems of guests, as vcs-net-reconfig meets them: another site's network is there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

MAC = "52:54:00:00:00:02"
ETC = "etc/systemd/system/multi-user.target.wants/"

V4 = """\
Version=1
ConfigureNetwork=1
IPAddress=10.20.0.5
Netmask=255.255.255.0
Gateway=10.20.0.1
DNSServers=10.20.0.2 10.20.0.3
DNSSearchPath=b.example.com example.com
Device=eth0
"""
V6 = """\
Version=1
ConfigureNetwork=1
IPAddress=2001:db8:20::5
Netmask=64
Gateway=fe80::1
DNSServers=2001:db8:20::2
DNSSearchPath=b.example.com
"""


class Scene(NamedTuple):
    """One kind of guest: the units that are enabled, and files by their names."""

    units: tuple[str, ...]
    files: dict[str, str]


SCENES = {
    "networkmanager": Scene(
        ("NetworkManager.service",),
        {
            "etc/NetworkManager/system-connections/site-a.nmconnection": (
                "[connection]\nid=site-a\ntype=ethernet\ninterface-name=ens2\nzone=internal\n\n"
                "[ethernet]\nmtu=9000\n\n[ipv4]\nmethod=manual\naddress1=10.10.0.5/24,10.10.0.1\n"
            ),
            "etc/NetworkManager/system-connections/by-mac": (
                f"[connection]\nid=by-mac\ntype=ethernet\n\n[ethernet]\nmac-address={MAC.upper()}\n"
            ),
            "etc/NetworkManager/system-connections/any.nmconnection": (
                "[connection]\nid=any\ntype=ethernet\n\n[ipv4]\nmethod=auto\n"
            ),
            "etc/NetworkManager/system-connections/vlan.nmconnection": (
                "[connection]\nid=vlan\ntype=vlan\ninterface-name=ens2.7\n\n[vlan]\nparent=ens2\n"
            ),
        },
    ),
    "networkd": Scene(
        ("systemd-networkd.service",),
        {
            "etc/systemd/network/10-site-a.network": (
                "[Match]\nName=ens2\n\n[Network]\nAddress=10.10.0.5/24\nGateway=10.10.0.1\n"
            ),
            "etc/systemd/network/00-all.network": "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n",
            "etc/systemd/network/20-other.network": "[Match]\nName=ens3\n\n[Network]\nDHCP=yes\n",
            "etc/resolv.conf": "nameserver 10.10.0.2\nsearch a.example.com\noptions timeout:1\n",
        },
    ),
    "network_scripts": Scene(
        ("NetworkManager.service",),
        {
            "usr/lib64/NetworkManager/1.40.16-1.el8/libnm-settings-plugin-ifcfg-rh.so": "",
            "etc/sysconfig/network-scripts/ifcfg-lo": "DEVICE=lo\nIPADDR=127.0.0.1\n",
            "etc/sysconfig/network-scripts/ifcfg-System_one": (
                'DEVICE="ens2"\nONBOOT=yes\nBOOTPROTO=none\nIPADDR=10.10.0.5\nPREFIX=24\n'
                'GATEWAY=10.10.0.1\nZONE="internal"\nMTU=9000\n'
            ),
            "etc/sysconfig/network-scripts/ifcfg-ens2:1": "DEVICE=ens2:1\nIPADDR=10.10.0.6\n",
            "etc/sysconfig/network-scripts/route-ens2": "10.11.0.0/16 via 10.10.0.254\n",
            "etc/sysconfig/network-scripts/ifcfg-ens3": "DEVICE=ens3\nBOOTPROTO=dhcp\n",
            "etc/sysconfig/network": "NETWORKING=yes\nGATEWAY=10.10.0.1\nNOZEROCONF=yes\n",
        },
    ),
    "ifupdown": Scene(
        ("networking.service", "NetworkManager.service"),
        {
            "etc/network/interfaces": (
                "# The loopback network interface\nsource /etc/network/interfaces.d/*.cfg\n\n"
                "auto lo ens2 ens3\niface lo inet loopback\n\n"
                "iface ens2 inet static\n    address 10.10.0.5/24\n    gateway 10.10.0.1\n"
                "    up ip route add 10.11.0.0/16 \\\n        via 10.10.0.254\n\n"
                "iface ens3 inet dhcp\n"
            ),
            "etc/network/interfaces.d/site.cfg": (
                "allow-hotplug ens2\niface ens2 inet6 static\n    address 2001:db8:10::5/64\n"
                "auto ens2:1\niface ens2:1 inet static\n    address 10.10.0.6/24\n"
            ),
            "etc/resolv.conf": "nameserver 10.10.0.2\n",
        },
    ),
    "wicked": Scene(
        ("wicked.service",),
        {
            "etc/sysconfig/network/ifcfg-ens2": (
                "STARTMODE='auto'\nBOOTPROTO='static'\nIPADDR='10.10.0.5/24'\nZONE=internal\n"
            ),
            "etc/sysconfig/network/ifcfg-ens3": "STARTMODE='auto'\nBOOTPROTO='dhcp'\n",
            "etc/sysconfig/network/ifroute-ens2": "10.11.0.0/16 10.10.0.254 - ens2\n",
            "etc/sysconfig/network/routes": (
                "default 10.10.0.1 - -\ndefault fe80::1 - ens2\ndefault 10.12.0.1 - ens3\n"
                "10.13.0.0/16 10.12.0.254\n"
            ),
            "etc/sysconfig/network/config": (
                '# Static servers\nNETCONFIG_DNS_STATIC_SEARCHLIST="a.example.com"\n'
                'NETCONFIG_DNS_STATIC_SERVERS="10.10.0.2"\nNETCONFIG_DNS_POLICY="auto"\n'
            ),
        },
    ),
}


def add_nic(
    root: Path, name: str, bus: str, mac: str = MAC, kind: str = "1", extra: str = ""
) -> None:
    """Add a card to the root's /sys; ``bus`` is "0000:00:02.0/virtio0", or "" for a virtual one."""
    home = root / "sys/devices" / ("pci0000:00/" + bus if bus else "virtual") / "net" / name
    home.mkdir(parents=True)
    (home / "type").write_text(kind + "\n")
    (home / "address").write_text(mac + "\n")
    (home / "ifindex").write_text("2\n")
    if bus:
        (home / "device").symlink_to("../..")
    if extra:
        (home / extra).mkdir()
    links = root / "sys/class/net"
    links.mkdir(parents=True, exist_ok=True)
    (links / name).symlink_to("../../" + str(home.relative_to(root / "sys")))


def enable(root: Path, *units: str) -> None:
    """Enable services the way systemctl does."""
    for unit in units:
        link = root / ETC / unit
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("/usr/lib/systemd/system/" + unit)


def build(root: Path, scene: Scene) -> Path:
    """Make the root of this kind of guest, with two cards, ens2 and ens3."""
    root.mkdir()
    add_nic(root, "ens2", "0000:00:02.0/virtio0")
    add_nic(root, "ens3", "0000:00:03.0/virtio1", mac="52:54:00:00:00:03")
    add_nic(root, "lo", "", mac="00:00:00:00:00:00", kind="772")
    enable(root, *scene.units)
    for name, content in scene.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if "system-connections" in name:
            path.chmod(0o600)
    return root


def snapshot(root: Path, below: str = "") -> dict[str, tuple[int, str]]:
    """Return mode and content of every file (the target of a link), by name."""
    found = {}
    for path in sorted((root / below).rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = (0, str(path.readlink()))
        elif path.is_file():
            content = path.read_text(encoding="utf-8", errors="surrogateescape")
            found[str(path.relative_to(root))] = (path.stat().st_mode & 0o7777, content)
    return found


def as_text(root: Path) -> str:
    """Return the network configuration below /etc as one text, for comparison and review."""
    parts = [
        f"== /{name} {mode:04o}\n{content}"
        for name, (mode, content) in snapshot(root, "etc").items()
        if not name.startswith("etc/systemd/system/")
    ]
    return "\n".join(parts)
