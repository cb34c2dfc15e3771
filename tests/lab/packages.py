"""The Debian packages the laboratory needs, and how they get onto the machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

_POLICY = Path("/usr/sbin/policy-rc.d")

#: What hosts and guests need. Standard on every Debian: util-linux (nsenter, unshare), bash, apt.
LAB_PACKAGES = (
    "busybox-static",  # everything that runs inside a guest
    "cpio",
    "iproute2",
    "libvirt-clients",
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "qemu-system-x86",
    "qemu-utils",
)


class PackagesMissingError(RuntimeError):
    """Packages are missing and could not be installed; the message says what to do."""


def missing_packages(names: Iterable[str]) -> list[str]:
    """Those of the packages that dpkg does not have fully installed."""
    wanted = list(names)
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    # Exit status 1 only says that some package is unknown; the others are still listed.
    installed = {
        line.split()[0] for line in answer.stdout.splitlines() if line.endswith(" installed")
    }
    return [name for name in wanted if name not in installed]


def ensure_packages(names: Iterable[str], log: Path) -> list[str]:
    """Install those packages that are missing, and return their names.

    Args:
        names: Debian package names.
        log: file that receives what apt-get says; it is only made when something is installed.

    Raises:
        PackagesMissingError: we are not root, or apt-get failed.
    """
    missing = missing_packages(names)
    if not missing:
        return []
    by_hand = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        raise PackagesMissingError(f"the laboratory needs packages; as root, run: {by_hand}")
    is_ours = _forbid_services()
    try:
        _install(missing, log, by_hand)
    finally:
        if is_ours:
            _POLICY.unlink()
    return missing


def _forbid_services() -> bool:
    """Let apt start none of what it installs; True when the rule is ours and to be removed.

    A libvirtd, NetworkManager or cluster engine of the machine's own is neither needed nor wanted.
    """
    try:
        with _POLICY.open("x", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        return False
    _POLICY.chmod(0o755)
    return True


def _install(missing: list[str], log: Path, by_hand: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    with log.open("ab") as output:
        # An update that fails need not matter; if it does, the installation fails and says so.
        # Another run may be installing just now: wait for it.
        for step in (["apt-get", "update"], [*install, "--option=DPkg::Lock::Timeout=120"]):
            done = subprocess.run(
                step,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
    if done.returncode != 0:
        raise PackagesMissingError(
            f"apt-get failed with status {done.returncode}, see {log}; put right what it says, "
            f"or run yourself: {by_hand}"
        )
