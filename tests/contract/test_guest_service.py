"""vcs-net-reconfig, run as the guest runs it, on made-up root file systems.

The golden files under tests/data/guest-service hold all network configuration below /etc after a
run; ``python -m tests.contract.test_guest_service`` writes them anew, to be reviewed like code.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.contract import guest_roots as guests

REPO = Path(__file__).parents[2]
SERVICE = REPO / "kvmguest/guest/vcs-net-reconfig"
GOLDEN = REPO / "tests/data/guest-service"
CASES = [(manager, family) for manager in guests.SCENES for family in ("v4", "v6")]
TEXT = {"v4": guests.V4, "v6": guests.V6}


def service(root: Path, source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*("/usr/bin/python3", "-I", SERVICE), "--root", root, "--source", source, *options],
        env={"LC_ALL": "C", "PATH": "/nonexistent"},  # early boot has no more
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def cd(folder: Path, text: str) -> Path:
    """Make a folder that looks like the mounted CD."""
    folder.mkdir(exist_ok=True)
    (folder / "vcs-net-reconfig.conf").write_text(text)
    return folder


def applied(root: Path, source: Path) -> str:
    done = service(root, source)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(root: Path, source: Path) -> str:
    """Run the service on a bad CD; nothing may change, and the reason is returned."""
    before = guests.snapshot(root)
    done = service(root, source)
    assert done.returncode == 1
    assert guests.snapshot(root) == before
    assert done.stderr.endswith("nothing was changed\n")
    assert done.stderr.isascii()
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return guests.build(tmp_path / "root", guests.SCENES["networkd"])


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize(("manager", "family"), CASES)
def test_every_manager_gets_its_own_files(manager: str, family: str, tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    said = applied(root, cd(tmp_path / "cd", TEXT[family]))
    assert guests.as_text(root) == (GOLDEN / f"{manager}-{family}.txt").read_text()
    address = {"v4": "10.20.0.5/24", "v6": "2001:db8:20::5/64"}[family]
    assert said.startswith(f"applied {address} on ens2 through {manager};")


@pytest.mark.parametrize(("manager", "family"), CASES)
def test_what_was_there_before_is_kept(manager: str, family: str, tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    before = guests.snapshot(root, "etc")
    applied(root, cd(tmp_path / "cd", TEXT[family]))
    after = guests.snapshot(root, "etc")
    (folder,) = (root / "var/lib/vcs-net-reconfig").glob("before-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    kept = guests.snapshot(folder)
    lost = {name: before[name] for name in before if after.get(name) != before[name]}
    assert lost
    assert kept == lost


@pytest.mark.parametrize(("manager", "family"), CASES)
def test_the_same_cd_again_changes_nothing(manager: str, family: str, tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    source = cd(tmp_path / "cd", TEXT[family])
    applied(root, source)
    first = guests.snapshot(root)
    assert "is applied already, since 20" in applied(root, source)
    assert guests.snapshot(root) == first


DIRECTORIES = {
    "networkmanager": ("etc/NetworkManager/system-connections/backup",),
    "networkd": ("etc/systemd/network/old.network",),
    "network_scripts": (
        "etc/sysconfig/network-scripts/ifcfg-old",
        "etc/sysconfig/network-scripts/ifcfg-ens2:old",
    ),
    "ifupdown": ("etc/network/interfaces.d/old.cfg",),
    "wicked": ("etc/sysconfig/network/ifcfg-old",),
}


@pytest.mark.parametrize("manager", guests.SCENES)
def test_a_directory_beside_the_profiles_is_no_profile(manager: str, tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    for name in DIRECTORIES[manager]:
        (root / name).mkdir(parents=True)
    applied(root, cd(tmp_path / "cd", guests.V4))
    assert guests.as_text(root) == (GOLDEN / f"{manager}-v4.txt").read_text()
    assert all((root / name).is_dir() for name in DIRECTORIES[manager])


@pytest.mark.parametrize("damage", ["{torn", "[]", "{}", '{"manager": 1}', ""])
@pytest.mark.parametrize("manager", ["networkd", "ifupdown"])
def test_lost_state_leads_to_the_same_files(manager: str, damage: str, tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    source = cd(tmp_path / "cd", guests.V4)
    applied(root, source)
    first = guests.as_text(root)
    (root / "var/lib/vcs-net-reconfig/state.json").write_text(damage)
    assert service(root, source, "--status").stdout.startswith("nothing has been applied")
    assert applied(root, source).startswith("applied")
    assert guests.as_text(root) == first


@pytest.mark.parametrize("manager", guests.SCENES)
def test_failing_over_and_back_gives_each_site_its_own(manager: str, tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    site_b = cd(tmp_path / "b", guests.V4)
    site_a = cd(tmp_path / "a", guests.V4.replace("10.20.", "10.30.").replace("b.example", "a.ex"))
    applied(root, site_b)
    first = guests.as_text(root)
    applied(root, site_a)
    assert "10.20.0" not in guests.as_text(root)
    applied(root, site_b)
    assert guests.as_text(root) == first


@pytest.mark.parametrize("manager", guests.SCENES)
def test_another_card_leaves_nothing_of_the_first(manager: str, tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    applied(root, cd(tmp_path / "cd", guests.V4))
    text = guests.V4.replace("eth0", "ens3").replace("10.20.0.5", "10.20.0.6")
    assert "on ens3" in applied(root, cd(tmp_path / "cd", text))
    assert "10.20.0.5" not in guests.as_text(root)


def test_a_dry_run_and_the_status_change_nothing(root: Path, tmp_path: Path) -> None:
    source = cd(tmp_path / "cd", guests.V4)
    before = guests.snapshot(root)
    said = service(root, source, "--dry-run")
    assert said.returncode == 0
    assert "would write /etc/systemd/network/0-vcs-net-reconfig.network:" in said.stdout
    assert "    Address=10.20.0.5/24" in said.stdout
    assert "would set aside /etc/systemd/network/10-site-a.network" in said.stdout
    assert service(root, source, "--status").stdout == "nothing has been applied on this system\n"
    assert guests.snapshot(root) == before
    applied(root, source)
    status = service(root, source, "--status").stdout
    state = json.loads((root / "var/lib/vcs-net-reconfig/state.json").read_text())
    assert f"applied {state['applied']}: 10.20.0.5/24 on ens2 through networkd\n" in status
    assert f"what was there before is in {state['kept']}\n" in status


def test_configure_network_0_changes_nothing(root: Path, tmp_path: Path) -> None:
    before = guests.snapshot(root)
    text = guests.V4.replace("ConfigureNetwork=1", "ConfigureNetwork=0")
    assert "nothing to do" in applied(root, cd(tmp_path / "cd", text))
    assert guests.snapshot(root) == before


def test_a_configuration_that_cannot_be_written_changes_nothing(root: Path, tmp_path: Path) -> None:
    applied(root, cd(tmp_path / "cd", guests.V4))
    folder = root / "etc/systemd/network"
    other = folder.rename(root / "etc/systemd/network.gone")
    folder.write_text("not a folder")
    text = guests.V4.replace("10.20.0.5", "10.20.0.6")
    assert "cannot write" in refused(root, cd(tmp_path / "cd", text))
    assert other.is_dir()


# --- bad CDs --------------------------------------------------------------------------------------

BAD = {
    "no version": (guests.V4.replace("Version=1\n", ""), "no Version line"),
    "later version": (guests.V4.replace("Version=1", "Version=2"), "Version='2'"),
    "shell": (guests.V4.replace("eth0", "eth0;reboot"), "network card"),
    "command": (guests.V4.replace("b.example.com", "$(reboot)"), "DNS name"),
    "backquote": (guests.V4.replace("10.20.0.2", "`id`"), "DNSServers"),
    "path": (guests.V4.replace("eth0", "../../etc/passwd"), "network card"),
    "unknown key": (guests.V4 + "ExecStart=/bin/sh\n", "unknown key 'ExecStart'"),
    "duplicate": (guests.V4 + "IPAddress=10.20.0.6\n", "repeats the key 'IPAddress'"),
    "no key": (guests.V4 + "garbage\n", "line 9 is not Key=value"),
    "control": (guests.V4 + "Device=eth0\x1b[2J\n", "line 9"),
    "carriage return": (guests.V4.replace("eth0", "eth0\rGateway=10.20.0.9"), "line 8"),
    "no address": (guests.V4.replace("IPAddress=10.20.0.5\n", ""), "IPAddress"),
    "gateway outside": (guests.V4.replace("Gateway=10.20.0.1", "Gateway=10.21.0.1"), "Gateway"),
    "no such card": (guests.V4.replace("eth0", "ens9"), "the cards here: ens2, ens3"),
    "old name too far": (guests.V4.replace("eth0", "eth2"), "the cards here: ens2, ens3"),
    "ten megabytes": (guests.V4 + "#" * 10_000_000, "larger than 8192"),
    "empty": ("", "no Version line"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_cd_changes_nothing_and_says_why(kind: str, root: Path, tmp_path: Path) -> None:
    text, says = BAD[kind]
    assert says in refused(root, cd(tmp_path / "cd", text))


def test_every_complaint_comes_at_once(root: Path, tmp_path: Path) -> None:
    text = "Version=1\nConfigureNetwork=1\nIPAddress=::1\nNetmask=0\nGateway=x\nDevice=a b\n"
    said = refused(root, cd(tmp_path / "cd", text))
    assert [line.split(":")[0] for line in said.splitlines()] == [
        "IPAddress",
        "Gateway",
        "Device",
        "Netmask",
        "nothing was changed",
    ]


def test_binary_is_refused(root: Path, tmp_path: Path) -> None:
    source = cd(tmp_path / "cd", "")
    (source / "vcs-net-reconfig.conf").write_bytes(bytes(range(256)))
    assert "is not text" in refused(root, source)


def test_a_link_to_a_file_of_the_guest_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(guests.V4)
    source = tmp_path / "cd"
    source.mkdir()
    (source / "vcs-net-reconfig.conf").symlink_to("../secret")
    assert "symbolic links" in refused(root, source)


def test_neither_a_pipe_nor_a_folder_stops_the_boot(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "cd"
    source.mkdir()
    os.mkfifo(source / "vcs-net-reconfig.conf")
    assert "not a regular file" in refused(root, source)
    (source / "vcs-net-reconfig.conf").unlink()
    assert "No such file" in refused(root, source)
    (source / "vcs-net-reconfig.conf").mkdir()
    assert "not a regular file" in refused(root, source)


def test_windows_line_ends_and_a_missing_last_one_are_read(root: Path, tmp_path: Path) -> None:
    source = cd(tmp_path / "cd", "")
    data = guests.V4.replace("\n", "\r\n").rstrip().encode()
    (source / "vcs-net-reconfig.conf").write_bytes(data)
    assert applied(root, source).startswith("applied 10.20.0.5/24 on ens2")


def regenerate() -> None:
    for manager, family in CASES:
        with tempfile.TemporaryDirectory() as folder:
            root = guests.build(Path(folder) / "root", guests.SCENES[manager])
            applied(root, cd(Path(folder) / "cd", TEXT[family]))
            (GOLDEN / f"{manager}-{family}.txt").write_text(guests.as_text(root))


if __name__ == "__main__":
    regenerate()
