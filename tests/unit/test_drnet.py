"""DROpts: what is legal, what is refused and how, and the file for the guest."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from kvmguest import drnet
from kvmguest.errors import ConfigError

V4 = {
    "ConfigureNetwork": "1",
    "IPAddress": "10.20.0.5",
    "Netmask": "255.255.255.0",
    "Gateway": "10.20.0.1",
    "DNSServers": "10.20.0.2 10.20.0.3",
    "DNSSearchPath": "b.example.com example.com",
    "Device": "eth0",
}
V6 = {
    "ConfigureNetwork": "1",
    "IPAddress": "2001:db8:20::5",
    "Netmask": "64",
    "Gateway": "fe80::1",
    "DNSServers": "2001:db8:20::2",
    "DNSSearchPath": "NONE",
    "Device": "NONE",
}


def complaints(**changes: str) -> tuple[str, ...]:
    """Complaints about V4 (V6 when asked for an IPv6 address) with these values changed."""
    base = V6 if ":" in changes.get("IPAddress", "") else V4
    with pytest.raises(ConfigError) as caught:
        drnet.parse({**base, **changes})
    return caught.value.complaints


def test_a_full_ipv4_set_is_read() -> None:
    assert drnet.parse(V4) == drnet.NetworkParameters(
        interface=ip_interface("10.20.0.5/24"),
        gateway=ip_address("10.20.0.1"),
        dns_servers=(ip_address("10.20.0.2"), ip_address("10.20.0.3")),
        dns_search_path=("b.example.com", "example.com"),
        device="eth0",
    )


def test_ipv6_with_a_link_local_gateway_is_read() -> None:
    assert drnet.parse(V6) == drnet.NetworkParameters(
        interface=ip_interface("2001:db8:20::5/64"),
        gateway=ip_address("fe80::1"),
        dns_servers=(ip_address("2001:db8:20::2"),),
        dns_search_path=(),
        device="",
    )


@pytest.mark.parametrize("switch", ["0", "", "NONE", " 0 "])
def test_without_configure_network_the_rest_is_ignored(switch: str) -> None:
    assert drnet.parse({**V4, "ConfigureNetwork": switch, "IPAddress": "nonsense"}) is None


def test_an_empty_attribute_means_no_disaster_recovery() -> None:
    assert drnet.parse({}) is None


@pytest.mark.parametrize("unset", ["", "NONE", " NONE ", None])
def test_only_address_and_netmask_are_required(unset: str | None) -> None:
    optional = ("Gateway", "DNSServers", "DNSSearchPath", "Device")
    options = {key: value for key, value in V4.items() if key not in optional}
    if unset is not None:
        options.update(dict.fromkeys(optional, unset))
    assert drnet.parse(options) == drnet.NetworkParameters(
        ip_interface("10.20.0.5/24"), None, (), (), ""
    )


@pytest.mark.parametrize(
    ("netmask", "bits"), [("24", 24), ("255.255.254.0", 23), ("128.0.0.0", 1), (" 16 ", 16)]
)
def test_netmask_forms(netmask: str, bits: int) -> None:
    parameters = drnet.parse({**V4, "Netmask": netmask})
    assert parameters is not None
    assert parameters.interface.network.prefixlen == bits


@pytest.mark.parametrize("bits", ["31", "32"])
def test_the_smallest_subnets_have_no_network_or_broadcast_address(bits: str) -> None:
    assert drnet.parse({**V4, "Netmask": bits, "Gateway": ""}) is not None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("ConfigureNetwork", "2", "0 or 1"),
        ("ConfigureNetwork", "yes", "0 or 1"),
        ("IPAddress", "", "required"),
        ("IPAddress", "NONE", "required"),
        ("IPAddress", "10.20.0", "IPv4 or IPv6 address"),
        ("IPAddress", "10.20.0.5/24", "without prefix length"),
        ("IPAddress", "10.20.0.256", "IPv4 or IPv6 address"),
        ("IPAddress", "10.20.0.05", "IPv4 or IPv6 address"),
        ("IPAddress", "\u0661\u0660.20.0.5", "IPv4 or IPv6 address"),
        ("IPAddress", "10.20.0.5\n", "IPv4 or IPv6 address"),
        ("IPAddress", "10.20.0.0", "subnet"),
        ("IPAddress", "10.20.0.255", "broadcast"),
        ("IPAddress", "0.0.0.0", "unspecified"),  # noqa: S104
        ("IPAddress", "127.0.0.1", "loopback"),
        ("IPAddress", "239.1.1.1", "multicast"),
        ("IPAddress", "255.255.255.255", "broadcast"),
        ("IPAddress", "2001:db8:20::", "subnet"),
        ("IPAddress", "::", "unspecified"),
        ("IPAddress", "::1", "loopback"),
        ("IPAddress", "ff02::1", "multicast"),
        ("IPAddress", "::ffff:10.20.0.5", "IPv4-mapped"),
        ("IPAddress", "2001:db8:20::5%eth0", "IPv4 or IPv6 address"),
        ("Netmask", "", "required"),
        ("Netmask", "0", "prefix length"),
        ("Netmask", "33", "prefix length"),
        ("Netmask", "024", "prefix length"),
        ("Netmask", "/24", "prefix length"),
        ("Netmask", "\u0662\u0664", "prefix length"),
        ("Netmask", "0.0.0.0", "contiguous"),  # noqa: S104
        ("Netmask", "255.0.255.0", "contiguous"),
        ("Netmask", "0.0.0.255", "contiguous"),
        ("Gateway", "10.20.1.1", "10.20.0.0/24"),
        ("Gateway", "10.20.0.5", "own IPAddress"),
        ("Gateway", "10.20.0.255", "broadcast"),
        ("Gateway", "fe80::1", "10.20.0.0/24"),
        ("Gateway", "gw.example.com", "IPv4 or IPv6 address"),
        ("DNSServers", "10.20.0.2,10.20.0.3", "IPv4 or IPv6 address"),
        ("DNSServers", "10.20.0.2\n10.20.0.3", "IPv4 or IPv6 address"),
        ("DNSServers", "2001:db8::53", "same family"),
        ("DNSServers", "224.0.0.1", "multicast"),
        ("DNSSearchPath", "-bad.example.com", "DNS domain names"),
        ("DNSSearchPath", "a..b", "DNS domain names"),
        ("DNSSearchPath", "a" * 64 + ".com", "DNS domain names"),
        ("DNSSearchPath", ".".join(["a" * 50] * 6), "DNS domain names"),
        ("DNSSearchPath", "10.20.0.2", "DNS domain names"),
        ("DNSSearchPath", "$(reboot)", "DNS domain names"),
        ("DNSSearchPath", "ex\u00e4mple.com", "DNS domain names"),
        ("Device", "a" * 16, "network interface"),
        ("Device", "../etc", "network interface"),
        ("Device", "eth0 eth1", "network interface"),
        ("Device", "eth0;reboot", "network interface"),
        ("Device", "lo", "network interface"),
        ("DNSServer", "10.20.0.2", "unknown key"),
    ],
)
def test_a_wrong_value_gets_one_sentence_with_key_and_value(
    key: str, value: str, says: str
) -> None:
    found = complaints(**{key: value})
    assert len(found) == 1
    assert key in found[0]
    assert says in found[0]
    if key != "DNSServer":  # of an unknown key the value does not matter
        assert repr("" if value == "NONE" else value) in found[0]


def test_every_complaint_comes_at_once() -> None:
    found = complaints(
        IPAddress="10.20.0.300",
        Netmask="255.0.255.0",
        Gateway="127.0.0.1",
        DNSServers="one 10.20.0.2 two",
        DNSSearchPath="good.example.com bad..example.com",
        Device="eth0/1",
    )
    named = [sentence.split()[1] for sentence in found]
    assert named == [
        "IPAddress",
        "Netmask",
        "Gateway",
        "DNSServers",
        "DNSServers",
        "DNSSearchPath",
        "Device",
    ]


def test_the_file_for_the_guest() -> None:
    parameters = drnet.parse({**V4, "Netmask": "24", "DNSSearchPath": " a.example.com.\texample "})
    assert parameters is not None
    assert drnet.payload(parameters) == (
        "Version=1\n"
        "ConfigureNetwork=1\n"
        "IPAddress=10.20.0.5\n"
        "Netmask=255.255.255.0\n"
        "Gateway=10.20.0.1\n"
        "DNSServers=10.20.0.2 10.20.0.3\n"
        "DNSSearchPath=a.example.com example\n"
        "Device=eth0\n"
    )


def test_unset_values_are_not_in_the_file() -> None:
    parameters = drnet.parse(V6)
    assert parameters is not None
    assert drnet.payload(parameters) == (
        "Version=1\nConfigureNetwork=1\nIPAddress=2001:db8:20::5\nNetmask=64\n"
        "Gateway=fe80::1\nDNSServers=2001:db8:20::2\n"
    )


def test_a_file_over_the_managers_limit_is_refused_before_the_guest_is_touched() -> None:
    fits = drnet.parse({**V4, "DNSSearchPath": " ".join(["x" * 60] * 130)})
    assert fits is not None
    assert len(drnet.payload(fits)) <= drnet.MAX_PAYLOAD_CHARS
    (sentence,) = complaints(DNSSearchPath=" ".join(["x" * 60] * 140))
    assert "at most 8192" in sentence
