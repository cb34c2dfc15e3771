"""What vcs-net-reconfig renders: nothing can be injected, and the managers' own tools read it.

networkd and wicked have no checker that runs without them; networkd is proven by a real guest.
"""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings

from kvmguest import drnet
from kvmguest.dr_iso import build_iso
from tests.contract import guest_roots as guests
from tests.contract.test_guest_agreement import SERVICE_MODULE, agent, any_options, guest
from tests.contract.test_guest_service import SERVICE, applied

# --- what is rendered -----------------------------------------------------------------------------

NIC = SERVICE_MODULE.Nic("ens2", guests.MAC)
WORD = re.compile(r"[A-Za-z0-9._:/-]+(%ens2)?")


def keys_of(section: configparser.SectionProxy) -> set[str]:
    return set(section.keys())


def check_networkmanager(files: dict[str, str]) -> None:
    (text,) = files.values()
    parser = configparser.RawConfigParser(delimiters=("=",), strict=True)
    parser.read_string(text)
    assert parser.sections() == ["connection", "ethernet", "ipv4", "ipv6"]
    for family in ("ipv4", "ipv6"):
        assert keys_of(parser[family]) <= {"method", "address1", "dns", "dns-search"}
        for value in parser[family].values():
            assert all(WORD.fullmatch(part) for part in re.split("[;,]", value) if part)


def check_networkd(files: dict[str, str]) -> None:
    text = files.pop("/etc/systemd/network/0-vcs-net-reconfig.network")
    check_resolv_conf(files)
    legal = ["DHCP", "LinkLocalAddressing", "IPv6AcceptRA", "Address", "Gateway", "DNS", "Domains"]
    lines = text.splitlines()
    assert lines[1:6] == ["[Match]", "Name=ens2", "", "[Network]", "DHCP=no"]
    for line in lines[6:]:
        key, value = line.split("=", 1)
        assert key in legal
        assert all(WORD.fullmatch(part) for part in value.split(" "))


def check_resolv_conf(files: dict[str, str]) -> None:
    for text in files.values():
        for line in text.splitlines():
            assert line.split(" ")[0] in {"nameserver", "search"}
            assert all(WORD.fullmatch(part) for part in line.split(" "))


def check_shell(files: dict[str, str]) -> None:
    """Every line is one assignment to a shell that sources the file, and it starts nothing."""
    for text in files.values():
        for line in text.splitlines():
            tokens = shlex.split(line, comments=True, posix=True)
            if line.startswith("default "):
                assert all(WORD.fullmatch(token) for token in tokens)
                continue
            assert len(tokens) <= 1
            for token in tokens:
                key, value = token.split("=", 1)
                assert re.fullmatch("[A-Z0-9_]+", key)
                assert all(WORD.fullmatch(part) for part in value.split(" "))


def check_ifupdown(files: dict[str, str]) -> None:
    text = files.pop("/etc/network/interfaces.d/vcs-net-reconfig")
    assert files.pop("/etc/network/interfaces").split() == [
        "source",
        "/etc/network/interfaces.d/vcs-net-reconfig",
    ]
    check_resolv_conf(files)
    legal = [
        "address",
        "netmask",
        "gateway",
        "autoconf",
        "accept_ra",
        "dns-nameservers",
        "dns-search",
    ]
    lines = text.splitlines()
    assert lines[1] == "auto ens2"
    assert lines[2] in {"iface ens2 inet static", "iface ens2 inet6 static"}
    for line in lines[3:]:
        key, *words = line.split()
        assert key in legal
        assert words
        assert all(WORD.fullmatch(word) for word in words)


CHECKS = {
    "networkmanager": check_networkmanager,
    "networkd": check_networkd,
    "network_scripts": check_shell,
    "ifupdown": check_ifupdown,
    "wicked": check_shell,
}


@pytest.fixture(scope="module")
def empty_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return guests.build(tmp_path_factory.mktemp("empty") / "root", guests.Scene((), {}))


@pytest.mark.parametrize("manager", CHECKS)
def test_no_accepted_value_can_inject_a_line_or_a_command(manager: str, empty_root: Path) -> None:
    # Most options are refused, by design; now and then Hypothesis finds that they are too many.
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(any_options)
    def check(values: dict[str, str]) -> None:
        parameters = agent(values)
        assume(isinstance(parameters, drnet.NetworkParameters))
        assert isinstance(parameters, drnet.NetworkParameters)
        plan = SERVICE_MODULE.Plan(SERVICE_MODULE.System(str(empty_root)))
        getattr(SERVICE_MODULE, manager)(plan, NIC, guest(drnet.payload(parameters)))
        files = {path: text for path, (_, text) in plan.files.items()}
        assert str(parameters.interface.ip) in "".join(files.values())
        CHECKS[manager](files)

    check()


# --- read by the managers' own tools --------------------------------------------------------------


def written(tmp_path: Path, manager: str, text: str, name: str) -> Path:
    """Let the service write for this manager; return one of the files."""
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    (tmp_path / "x.conf").write_text(text)
    applied(root, tmp_path / "x.conf")
    return root / name


def run(*command: str, given_text: str = "") -> str:
    done = subprocess.run(
        command, input=given_text, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_nmcli_reads_every_value(family: str, tmp_path: Path) -> None:
    text = {"v4": guests.V4, "v6": guests.V6}[family]
    name = "etc/NetworkManager/system-connections/vcs-net-reconfig.nmconnection"
    profile = written(tmp_path, "networkmanager", text, name).read_text()
    # It reads the profile, sets something that is so already, and prints what it has understood.
    change = ["nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes"]
    ours, theirs = configparser.RawConfigParser(), configparser.RawConfigParser()
    ours.read_string(profile)
    theirs.read_string(run(*change, given_text=profile))
    assert ours["connection"].pop("autoconnect") == "true"  # the default is not printed
    assert {s: dict(ours[s]) for s in ours.sections()}.items() <= {
        s: dict(theirs[s]) for s in theirs.sections()
    }.items()


def test_ifquery_reads_every_value_and_ifup_would_set_the_address(tmp_path: Path) -> None:
    name = "etc/network/interfaces.d/vcs-net-reconfig"
    path = str(written(tmp_path, "ifupdown", guests.V4, name))
    found = dict(line.split(": ", 1) for line in run("ifquery", "-i", path, "ens2").splitlines())
    assert found["address"] == "10.20.0.5"
    assert found["netmask"] == "255.255.255.0"
    assert found["gateway"] == "10.20.0.1"
    assert found["dns-nameservers"] == "10.20.0.2 10.20.0.3"
    assert found["dns-search"] == "b.example.com example.com"
    shown = subprocess.run(
        ["ifup", "--no-act", "--verbose", "-i", path, "ens2"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stderr
    assert "ip addr add 10.20.0.5/255.255.255.0 broadcast 10.20.0.255" in shown
    assert "ip route add default via 10.20.0.1" in shown


def test_what_is_left_of_the_old_interfaces_file_is_legal(tmp_path: Path) -> None:
    path = str(written(tmp_path, "ifupdown", guests.V4, "etc/network/interfaces"))
    listed_now = run("ifquery", "-i", path, "--list", "--all").split()
    assert listed_now == ["lo", "ens3"]  # ours comes with the source line, which is absolute
    assert run("ifquery", "-i", path, "ens3") == ""


@pytest.mark.parametrize("manager", ["network_scripts", "wicked"])
def test_a_shell_that_sources_the_file_gets_every_value(manager: str, tmp_path: Path) -> None:
    folder = {"network_scripts": "network-scripts", "wicked": "network"}[manager]
    folder = "etc/sysconfig/" + folder
    path = written(tmp_path, manager, guests.V4, folder + "/ifcfg-ens2")
    shown = 'set -eu; . "$1"; echo "$BOOTPROTO $IPADDR"'
    expected = {"network_scripts": "none 10.20.0.5\n", "wicked": "static 10.20.0.5/24\n"}
    assert run("bash", "-c", shown, "bash", str(path)) == expected[manager]


def test_the_guest_reads_the_cd_that_the_agent_makes(tmp_path: Path) -> None:
    parameters = drnet.parse({"ConfigureNetwork": "1", "IPAddress": "10.20.0.7", "Netmask": "24"})
    assert parameters is not None
    (tmp_path / "dr.iso").write_bytes(build_iso(drnet.payload(parameters)))
    (tmp_path / "cd").mkdir()
    inside = "/vcs-net-reconfig.conf"
    extract = ["xorriso", "-osirrox", "on", "-indev", str(tmp_path / "dr.iso"), "-extract", inside]
    subprocess.run([*extract, str(tmp_path / "cd") + inside], capture_output=True, check=True)
    root = guests.build(tmp_path / "root", guests.SCENES["networkd"])
    assert applied(root, tmp_path / "cd").startswith("applied 10.20.0.7/24 on ens2")


# --- Python 3.6 -----------------------------------------------------------------------------------


def test_the_service_is_python_3_6() -> None:
    ast.parse(SERVICE.read_text(), feature_version=(3, 6))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("vermin")), "--target=3.6-", "--no-tips", str(SERVICE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Minimum required versions: 3.6" in done.stdout


def test_the_service_imports_only_the_standard_library() -> None:
    tree = ast.parse(SERVICE.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in imports
        for alias in node.names
    }
    assert modules <= sys.stdlib_module_names
