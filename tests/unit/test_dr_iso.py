"""The CD image, looked at with the tools that a guest and an administrator would use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvmguest.dr_iso import build_iso
from kvmguest.errors import ConfigError

TEXT = "Version=1\nIPAddress=10.20.0.5\n"
ROOT = Path(__file__).parents[2]


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "dr.iso"
    path.write_bytes(build_iso(TEXT))
    return path


def test_blkid_sees_the_label(image: Path) -> None:
    assert run("/usr/sbin/blkid", "-p", "-s", "LABEL", "-o", "value", str(image)) == "VCSNETCFG\n"


@pytest.mark.parametrize("names", ["-R", "-J"])
def test_the_file_keeps_its_name_and_content(image: Path, names: str) -> None:
    assert run("isoinfo", names, "-f", "-i", str(image)) == "/vcs-net-reconfig.conf\n"
    shown = run("isoinfo", names, "-i", str(image), "-x", "/vcs-net-reconfig.conf")
    assert shown == TEXT


def test_xorriso_finds_one_read_only_file(image: Path) -> None:
    listing = run("xorriso", "-indev", str(image), "-lsl", "/")
    (line,) = [line for line in listing.splitlines() if line.startswith("-")]
    assert line.startswith("-r--r--r--")
    assert line.endswith("'vcs-net-reconfig.conf'")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_the_same_text_gives_the_same_bytes_on_every_node_at_any_time(
    zone: str, image: Path
) -> None:
    time.sleep(1.1)  # the format's dates count seconds
    script = "import sys; from kvmguest.dr_iso import build_iso;"
    script += "sys.stdout.buffer.write(build_iso(sys.argv[1]))"
    again = subprocess.run(
        [sys.executable, "-c", script, TEXT],
        env={**os.environ, "TZ": zone, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=30,
    ).stdout
    assert again == image.read_bytes()
    assert build_iso(TEXT + "Device=eth0\n") != again


def test_the_clock_of_the_process_is_left_alone(image: Path) -> None:
    import pycdlib.headervd

    assert image.stat().st_size > 0
    assert vars(pycdlib.headervd)["time"] is time


def test_without_the_library_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycdlib", None)
    with pytest.raises(ConfigError, match="python3-pycdlib"):
        build_iso(TEXT)
