"""Installs the Debian packages of the tests: the agent's own, the laboratory's, the peers'."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab.packages import LAB_PACKAGES, PackagesMissingError, ensure_packages

TEST_PACKAGES = (
    *LAB_PACKAGES,
    "corosync",  # the cluster engine that drives our agent
    "pacemaker",
    "pacemaker-cli-utils",
    "e2fsprogs",  # file systems of the full Debian guests
    "fence-agents",  # fence_rhevm, which checks our RHEV-M double
    "gcc",  # the oVirt SDK from PyPI compiles its XML reader
    "genisoimage",  # isoinfo reads our CDs
    "ifupdown",  # it and the next check what the guest service writes
    "kmod",
    "libxml2-dev",
    "mmdebstrap",
    "network-manager",
    "openssh-client",  # migration over ssh, against an sshd of its own
    "openssh-server",
    "ovmf",  # UEFI firmware, whose variables follow the guest
    "procps",
    "python3-cryptography",  # makes the certificates of that double
    "python3-dev",
    "python3-libvirt",
    "python3-lxml",
    "python3-pycdlib",  # DROpts on plain KVM
    "python3-pycurl",
    "python3-requests",
    "python3-venv",
    "resource-agents",  # ocf:heartbeat:VirtualDomain, which we measure ourselves against
    "systemd",  # systemd-analyze and systemctl --root check the guest service's unit
    "xorriso",
)

if __name__ == "__main__":
    try:
        ensure_packages(TEST_PACKAGES, Path("/tmp/kvmguest-test-packages.log"))
    except PackagesMissingError as error:
        sys.exit(f"tests/run: {error}")
