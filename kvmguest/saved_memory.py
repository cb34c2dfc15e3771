"""Whether the memory of a guest that was saved, or paused, still belongs to its disks.

A guest is saved on one node, the cluster starts it on another, and later on the first one again:
restored there, yesterday's memory would write yesterday's blocks over today's file systems. Nobody
tells this node what ran elsewhere, but the disks do: they were written to after the save. The same
goes for a guest that was paused and forgotten; libvirt's record of it tells since when.
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
    """``written``: disks that were written to since; ``unknown``: those that do not say.

    A block device keeps no time of what other hosts write to it.
    """

    written: tuple[str, ...]
    unknown: tuple[str, ...]


def compare(record: str, disks: Sequence[str]) -> Evidence:
    """What the times of the files say.

    Args:
        record: a file written when the memory stood still: the saved image, or libvirt's record of
            a paused guest. libvirtd writes that one anew when it restarts, which hides what was
            written before.
        disks: paths as the domain document has them, "" for no file.
    """
    stopped = _modified(record)
    times = {disk: _modified(disk) for disk in disks}
    if stopped is None:
        return Evidence((), tuple(disks))
    return Evidence(
        tuple(d for d, time in times.items() if time is not None and time > stopped + SLACK_S),
        tuple(disk for disk, time in times.items() if time is None),
    )


def _modified(path: str) -> float | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name of a network volume that is no path
        return None
    return found.st_mtime if stat.S_ISREG(found.st_mode) else None
