"""Disaster recovery: the DROpts attribute, validated, and the file that carries it into the guest.

DROpts gives the guest the network of the site it is started at. The file, alone on a small CD, is
read inside the guest by ``guest/vcs-net-reconfig``, which validates everything again by the same
rules; a property test keeps the two in step. This module knows neither libvirt, nor RHEV-M, nor how
the CD is made (``dr_iso``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import NamedTuple, Union

from kvmguest.errors import ConfigError

FILE_NAME = "vcs-net-reconfig.conf"
VOLUME_LABEL = "VCSNETCFG"
VERSION = "1"
CD_ALIAS = "ua-vcsnetcfg"
"""By this name our CD is known in a domain document: libvirt keeps names that begin with ua-, and
hands them on when the guest migrates, while paths differ between nodes."""
MAX_PAYLOAD_CHARS = 8192  # RHEV-M's limit per payload file (its message says 16K)

KEYS = ("IPAddress", "Netmask", "Gateway", "DNSServers", "DNSSearchPath", "Device")

Address = Union[IPv4Address, IPv6Address]
Interface = Union[IPv4Interface, IPv6Interface]

# Written out instead of is_loopback and the like: what those say differs between Python versions,
# and the guest's Python is not the host's.
_NOT_A_HOST = (
    (IPv4Network("0.0.0.0/8"), "unspecified"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("255.255.255.255/32"), "broadcast"),
    (IPv6Network("::/128"), "unspecified"),
    (IPv6Network("::1/128"), "loopback"),
    (IPv6Network("ff00::/8"), "multicast"),
    (IPv6Network("::ffff:0:0/96"), "IPv4-mapped"),
)
_LINK_LOCAL_V6 = IPv6Network("fe80::/10")
_QUAD = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}")
_COLONS = re.compile(r"[0-9A-Fa-f:]+(:[0-9]+(\.[0-9]+){3})?")
_PREFIX = re.compile(r"[1-9][0-9]{0,2}")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")


class NetworkParameters(NamedTuple):
    """What the guest's interface shall have at this site; only legal combinations exist.

    ``gateway``, ``dns_servers``, ``dns_search_path`` and ``device`` may be empty: no default route,
    no name service, and the guest's first network card.
    """

    interface: Interface
    gateway: Address | None
    dns_servers: tuple[Address, ...]
    dns_search_path: tuple[str, ...]
    device: str


def parse(options: Mapping[str, str]) -> NetworkParameters | None:
    """Validate DROpts; None when ConfigureNetwork is 0 (or unset) and the rest is to be ignored.

    Shape: the attribute's keys to their values, as VCS passes them; ``NONE`` and ``""`` mean unset.

    Raises:
        ConfigError: with every complaint, each a sentence that names the key and the value.
    """
    values = {key: value.strip(" \t") for key, value in options.items()}
    values = {key: "" if value == "NONE" else value for key, value in values.items()}
    switch = values.pop("ConfigureNetwork", "")
    if switch in {"", "0"}:
        return None
    complaints = []
    if switch != "1":
        complaints.append(f"DROpts ConfigureNetwork is {switch!r}: it must be 0 or 1")
    complaints += [
        f"DROpts has an unknown key {key!r}: the keys are ConfigureNetwork, {', '.join(KEYS)}"
        for key in sorted(values.keys() - set(KEYS))
    ]
    reader = _Reader({key: values.get(key, "") for key in KEYS}, complaints)
    parameters = reader.parameters()
    if complaints or parameters is None:
        raise ConfigError(complaints)
    payload(parameters)
    return parameters


def payload(parameters: NetworkParameters) -> str:
    """Return the content of FILE_NAME: ``Key=value`` lines, ASCII, each ended by a newline.

    Raises:
        ConfigError: it is longer than MAX_PAYLOAD_CHARS.
    """
    interface = parameters.interface
    is_v4 = interface.version == 4
    fields = {
        "Version": VERSION,
        "ConfigureNetwork": "1",
        "IPAddress": str(interface.ip),
        "Netmask": str(interface.netmask) if is_v4 else str(interface.network.prefixlen),
        "Gateway": "" if parameters.gateway is None else str(parameters.gateway),
        "DNSServers": " ".join(str(server) for server in parameters.dns_servers),
        "DNSSearchPath": " ".join(parameters.dns_search_path),
        "Device": parameters.device,
    }
    text = "".join(f"{key}={value}\n" for key, value in fields.items() if value)
    if len(text) > MAX_PAYLOAD_CHARS:
        complaint = (
            f"DROpts makes a file of {len(text)} characters for the guest:"
            f" at most {MAX_PAYLOAD_CHARS} are possible; shorten DNSServers or DNSSearchPath"
        )
        raise ConfigError([complaint])
    return text


def parse_address(text: str) -> Address | None:
    """Return the address, or None: no scope id, no leading zeros, ASCII digits only."""
    try:
        if _QUAD.fullmatch(text):
            return IPv4Address(text)
        if _COLONS.fullmatch(text):
            return IPv6Address(text)
    except AddressValueError:
        pass
    return None


def prefix_length(netmask: str, width: int) -> int | None:
    """Return the prefix length of a Netmask value, or None when it is not legal.

    Units: bits, 1 to ``width`` (32 or 128). A dotted quad is legal for IPv4 only.
    """
    if _PREFIX.fullmatch(netmask):
        return int(netmask) if int(netmask) <= width else None
    quad = parse_address(netmask)
    if width != 32 or not isinstance(quad, IPv4Address):
        return None
    host_bits = int(quad) ^ 0xFFFFFFFF
    is_contiguous = host_bits & (host_bits + 1) == 0
    return 32 - host_bits.bit_length() if is_contiguous and int(quad) else None


class _Reader:
    """Reads the values one by one and appends to the complaints."""

    def __init__(self, values: Mapping[str, str], complaints: list[str]) -> None:
        self._values = values
        self._complaints = complaints

    def parameters(self) -> NetworkParameters | None:
        """Return the parameters; None when a complaint about the address or mask was added."""
        interface = self._interface()
        gateway = self._gateway(interface)
        dns_servers = tuple(self._dns_servers(interface))
        dns_search_path = tuple(self._dns_search_path())
        device = self._values["Device"]
        if device and (device == "lo" or not _DEVICE.fullmatch(device)):
            self._complain(
                "Device",
                "it must be the name of a network interface: at most 15 letters, digits, dots,"
                " underscores and hyphens, starting with a letter or digit, and not lo",
            )
        if interface is None:
            return None
        return NetworkParameters(interface, gateway, dns_servers, dns_search_path, device)

    def _complain(self, key: str, legal: str, value: str | None = None) -> None:
        shown = self._values[key] if value is None else value
        self._complaints.append(f"DROpts {key} is {shown!r}: {legal}")

    def _host(self, key: str, value: str, allow_loopback: bool = False) -> Address | None:
        """Return the address of one host, or complain."""
        address = parse_address(value)
        if address is None:
            self._complain(key, "it must be an IPv4 or IPv6 address without prefix length", value)
            return None
        for network, kind in _NOT_A_HOST:
            if address in network and not (allow_loopback and kind == "loopback"):
                self._complain(key, f"it is {kind}, not the address of one host", value)
                return None
        return address

    def _interface(self) -> Interface | None:
        values = self._values
        address = None
        for key in ("IPAddress", "Netmask"):
            if not values[key]:
                self._complain(key, "it is required when ConfigureNetwork is 1")
        if values["IPAddress"]:
            address = self._host("IPAddress", values["IPAddress"])
        if not values["Netmask"]:
            return None
        # With no usable address, a mask that is legal for either family gets no complaint.
        width = 128 if address is None else address.max_prefixlen
        bits = prefix_length(values["Netmask"], width)
        if bits is None and address is None:
            bits = prefix_length(values["Netmask"], 32)
        if bits is None:
            self._complain(
                "Netmask",
                "it must be a contiguous mask like 255.255.255.0 or a prefix length from 1 to 32"
                if width == 32
                else "it must be a prefix length from 1 to 128"
                + (", or for IPv4 a contiguous mask like 255.255.255.0" if address is None else ""),
            )
        if address is None or bits is None:
            return None
        interface: Interface
        if isinstance(address, IPv4Address):
            interface = IPv4Interface(f"{address}/{bits}")
        else:
            interface = IPv6Interface(f"{address}/{bits}")
        self._refuse_ends("IPAddress", address, interface)
        return interface

    def _refuse_ends(self, key: str, address: Address, interface: Interface) -> None:
        """Complain of the subnet's own address and of its broadcast address.

        A /31 or /32 (/127, /128) has neither (RFC 3021, RFC 6164); IPv6 has no broadcast.
        """
        network = interface.network
        if network.max_prefixlen - network.prefixlen < 2:
            return
        if address == network.network_address:
            self._complain(key, f"it is the address of the subnet {network} itself, not of a host")
        elif network.version == 4 and address == network.broadcast_address:
            self._complain(key, f"it is the broadcast address of the subnet {network}")

    def _gateway(self, interface: Interface | None) -> Address | None:
        if not self._values["Gateway"]:
            return None
        gateway = self._host("Gateway", self._values["Gateway"])
        if gateway is None or interface is None:
            return gateway
        if gateway == interface.ip:
            self._complain("Gateway", "it is the guest's own IPAddress")
        elif gateway in interface.network:
            self._refuse_ends("Gateway", gateway, interface)
        elif interface.version == 4 or gateway not in _LINK_LOCAL_V6:
            self._complain(
                "Gateway",
                f"it must be in the guest's subnet {interface.network}"
                + ("" if interface.version == 4 else ", or link-local (fe80::/10)"),
            )
        return gateway

    def _dns_servers(self, interface: Interface | None) -> Iterator[Address]:
        for word in _words(self._values["DNSServers"]):
            server = self._host("DNSServers", word, allow_loopback=True)
            if server is None:
                continue
            if interface is not None and server.version != interface.version:
                # The guest gets one address: a server of the other family is out of its reach.
                self._complain("DNSServers", "it must be of the same family as IPAddress", word)
            yield server

    def _dns_search_path(self) -> Iterator[str]:
        for word in _words(self._values["DNSSearchPath"]):
            name = word.removesuffix(".")
            labels = name.split(".")
            is_legal = len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
            if not is_legal or labels[-1].isdigit():
                self._complain(
                    "DNSSearchPath", "it must be a list of DNS domain names between blanks", word
                )
            yield name


def _words(value: str) -> list[str]:
    """Split at blanks and tabs only: a line break is never a separator."""
    return [word for word in re.split(r"[ \t]+", value) if word]
