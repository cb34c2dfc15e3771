"""The agent and the guest service accept the same values.

The service cannot import the agent's rules, so they are written twice; these tests hold them
together.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import ipaddress
import sys
from types import ModuleType
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kvmguest import drnet
from kvmguest.errors import ConfigError
from tests.contract.test_guest_service import SERVICE


def load() -> ModuleType:
    """Load the service as a module: it has no .py, and no import of it may leave a file behind."""
    loader = importlib.machinery.SourceFileLoader("vcs_net_reconfig", str(SERVICE))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


SERVICE_MODULE: Any = load()

# --- values: mostly right, often nearly right, sometimes anything ---------------------------------

HOSTILE = "09afgz.:-_/%~!$`'\"\\;&|()<>{}[]#=, \t\u00e4\u0663\u3000"
anything = st.text(st.sampled_from(HOSTILE) | st.characters(exclude_categories=["Cc", "Cs"]))
blanks = st.sampled_from(["", " ", "\t", "  "])
v4 = st.ip_addresses(network="10.20.0.0/22").map(str) | st.ip_addresses(v=4).map(str)
v6 = st.ip_addresses(network="2001:db8::/120").map(str) | st.ip_addresses(v=6).map(str)
odd_address = st.sampled_from(
    [
        "0.0.0.0",  # noqa: S104
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.1.1",
        "::1",
        "::",
        "ff02::1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:10.20.0.5",
        "::10.20.0.5",
        "2001:db8::0010",
        "010.20.0.5",
        "10.20.5",
        "0x0a140005",
        "1.2.3.4/24",
    ]
)
mask = st.integers(0, 130).map(str) | st.sampled_from(
    [
        "255.255.252.0",
        "255.255.255.0",
        "255.255.255.255",
        "0.0.0.0",  # noqa: S104
        "0.0.3.255",
        "255.0.255.0",
        "024",
        "/24",
        "+8",
        "64",
    ]
)
name = st.from_regex(r"[a-z0-9_]{1,3}([.-][a-z0-9]{1,3}){0,3}[.]?", fullmatch=True)
device = st.sampled_from(
    [
        "eth0",
        "ens2",
        "enp1s0",
        "lo",
        "bond0.100",
        "a-b_c",
        ".",
        "..",
        "-x",
        "eth0:1",
        "enx525400000002",
    ]
)


def listed(words: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda parts, gap: (gap or " ").join(parts), st.lists(words, max_size=3), blanks
    )


def field(*legal: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    usual = st.one_of(*legal, *legal, *legal)
    value = st.one_of(usual, usual, usual, st.sampled_from(["", "NONE"]), anything)
    return st.builds(lambda a, v, b: a + v + b, blanks, value, blanks)


def options(address: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    near = st.one_of(address, address, address, odd_address)
    return st.fixed_dictionaries(
        {"ConfigureNetwork": st.sampled_from(["1"] * 9 + ["0", "", "2", "NONE", "yes", " 1"])},
        optional={
            "IPAddress": field(near),
            "Netmask": field(mask),
            "Gateway": field(near),
            "DNSServers": field(listed(near)),
            "DNSSearchPath": field(listed(name)),
            "Device": field(device),
            "DNSServer": st.just("10.20.0.2"),
        },
    ).map(lambda values: {k: v for k, v in values.items() if k != "DNSServer" or len(values) > 6})


@st.composite
def legal_options(draw: st.DrawFn) -> dict[str, str]:
    """Values that are legal together, so that acceptance is tried as often as refusal."""
    version = draw(st.sampled_from([4, 6]))
    address = draw(st.ip_addresses(network="10.20.0.0/24" if version == 4 else "2001:db8::/64"))
    gateway = draw(st.ip_addresses(network="10.20.0.0/24" if version == 4 else "fe80::/64"))
    bits = draw(st.integers(8, 24) if version == 4 else st.integers(32, 64))
    as_quad = version == 4 and draw(st.booleans())
    network = ipaddress.ip_network(f"{address}/{bits}", strict=False)
    same_family = st.ip_addresses(network="10.0.0.0/8" if version == 4 else "2001:db8::/32")
    return {
        "ConfigureNetwork": "1",
        "IPAddress": str(address),
        "Netmask": str(network.netmask) if as_quad else str(bits),
        "Gateway": draw(st.sampled_from([str(gateway), ""])),
        "DNSServers": draw(listed(same_family.map(str))),
        "DNSSearchPath": draw(listed(name)),
        "Device": draw(st.sampled_from(["", "eth0", "ens2", "a-b_c.1"])),
    }


@st.composite
def nearly_legal_options(draw: st.DrawFn) -> dict[str, str]:
    """Legal values but for one, which is at or past the edge of what is legal."""
    values = draw(legal_options())
    bits = draw(st.sampled_from([values["Netmask"], "30", "31", "32", "126", "127", "128"]))
    try:
        network = ipaddress.ip_network(f"{values['IPAddress']}/{bits}", strict=False)
    except ValueError:
        return {**values, "Netmask": bits}
    edges = [network[0], network[-1], network[0] - 1, network[-1] + 1]
    edge = st.sampled_from([str(address) for address in edges])
    key, legal = draw(
        st.sampled_from(
            [
                ("IPAddress", edge | odd_address),
                ("Gateway", edge | odd_address | st.just(values["IPAddress"])),
                ("DNSServers", odd_address),
                ("Netmask", mask),
                ("DNSSearchPath", listed(name | anything)),
                ("Device", device | anything),
            ]
        )
    )
    return {**values, "Netmask": bits, key: draw(legal)}


any_options = st.one_of(legal_options(), nearly_legal_options(), options(v4), options(v6))


def agent(values: dict[str, str]) -> drnet.NetworkParameters | str | None:
    try:
        return drnet.parse(values)
    except ConfigError as error:
        return str(error)


def guest(text: str) -> Any:
    try:
        return SERVICE_MODULE.validate(SERVICE_MODULE.parse_file(text.encode()))
    except SERVICE_MODULE.Refused as error:
        return str(error)


def assert_same(parameters: drnet.NetworkParameters, found: Any) -> None:
    assert not isinstance(found, str), found
    assert ipaddress.ip_interface(f"{found.address}/{found.bits}") == parameters.interface
    assert found.netmask == str(parameters.interface.netmask)
    assert found.gateway == ("" if parameters.gateway is None else str(parameters.gateway))
    assert found.dns == tuple(map(str, parameters.dns_servers))
    assert found.search == parameters.dns_search_path
    assert found.device == parameters.device


@settings(max_examples=1000, deadline=None)
@given(any_options)
@example({"ConfigureNetwork": "1", "IPAddress": "10.20.0.5", "Netmask": "24", "Device": "lo"})
@example({"ConfigureNetwork": "1", "IPAddress": "10.20.0.5", "Netmask": "\u0662\u0664"})
@example({"ConfigureNetwork": "1", "IPAddress": "2001:db8::5%eth0", "Netmask": "64"})
@example({"ConfigureNetwork": "1", "IPAddress": "::ffff:10.20.0.5", "Netmask": "112"})
def test_the_service_decides_like_the_agent(values: dict[str, str]) -> None:
    verdict = agent(values)
    found = guest("Version=1\n" + "".join(f"{key}={value}\n" for key, value in values.items()))
    if isinstance(verdict, str):
        assert isinstance(found, str), (verdict, found)
    elif verdict is None:
        assert found is None
    else:
        assert_same(verdict, found)


@settings(max_examples=300, deadline=None)
@given(st.one_of(legal_options(), any_options))
def test_what_the_agent_accepts_reaches_the_guest_unchanged(values: dict[str, str]) -> None:
    parameters = agent(values)
    assume(isinstance(parameters, drnet.NetworkParameters))
    assert isinstance(parameters, drnet.NetworkParameters)
    assert_same(parameters, guest(drnet.payload(parameters)))


@settings(max_examples=300, deadline=None)
@given(
    legal_options(),
    st.sampled_from(drnet.KEYS),
    st.sampled_from(
        ["\n", "\r", "\0", "\v", "\u2028", "\nGateway=10.20.0.9", "\n[Match]", ";", "`"]
    ),
    st.booleans(),
)
def test_no_value_with_a_line_break_or_a_shells_character_is_accepted(
    values: dict[str, str], key: str, bad: str, is_first: bool
) -> None:
    values[key] = bad + values[key] if is_first else values[key] + bad
    assert isinstance(agent(values), str)
