"""Whether the memory that virsh managedsave kept still belongs to the guest's disks.

A guest is saved on one node, the cluster starts it on another, and later on the first one again:
restored there, yesterday's memory would write yesterday's blocks over today's file systems. Nobody
tells this node what ran elsewhere, but the disks do: they were written to after the save.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

IMAGE = "/var/lib/libvirt/qemu/save/{}.save"
"""libvirt's place for system guests, which cannot be configured, nor asked for (libvirt 9.0)."""
SLACK_S = 5.0
"""QEMU may write a disk's own metadata while it ends, and storage servers have their own clock."""


class Evidence(NamedTuple):
    """``written``: disks that were written to after the save; ``unknown``: those that do not say.

    A block device keeps no time of what other hosts write to it.
    """

    written: tuple[str, ...]
    unknown: tuple[str, ...]


def compare(image: str, disks: Sequence[str]) -> Evidence:
    """What the times of the files say; paths as the domain document has them, "" for no file."""
    saved = _modified(image)
    times = {disk: _modified(disk) for disk in disks}
    if saved is None:
        return Evidence((), tuple(disks))
    return Evidence(
        tuple(d for d, time in times.items() if time is not None and time > saved + SLACK_S),
        tuple(disk for disk, time in times.items() if time is None),
    )


def _modified(path: str) -> float | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name of a network volume that is no path
        return None
    return found.st_mtime if stat.S_ISREG(found.st_mode) else None
