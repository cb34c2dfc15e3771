"""The last witness when libvirt cannot be asked: the processes of this node."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

LIBVIRT_STATUS = "/run/libvirt/qemu"
"""Where libvirtd and virtqemud keep what they must know after a restart of their own."""
LIBVIRT_LOGS = "/var/log/libvirt/qemu"
_LOG_TAIL_BYTES = 65536
_LOG_LINE = re.compile(rb"^[-0-9]+ [0-9:.+]+: (?:starting up|shutting down)(.*)", re.MULTILINE)


class Qemu(NamedTuple):
    """A QEMU process; ``is_incoming``: it was started to receive a live migration or a saved guest.

    A receiver keeps that argument for life, so it cannot be told whether the migration is over.
    """

    pid: int
    is_incoming: bool


def find_qemu(guest: str, proc: str = "/proc") -> Qemu | None:
    """The live QEMU whose -name argument is exactly this guest, or None.

    libvirt writes ``-name guest=<name>,debug-threads=on`` with commas in the name doubled, older
    ones ``-name <name>``. Names are compared whole: neither a prefix nor a pattern ever matches. A
    zombie has an empty command line and so does not count.
    """
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        words = _command_line(os.path.join(proc, entry))
        if _is_qemu_of(words, os.fsencode(guest)):
            return Qemu(int(entry), b"-incoming" in words)
    return None


def _command_line(process: str) -> list[bytes]:
    """The words of it; that of another thread where the first one ended before the others.

    A QEMU that was killed while its disk hangs is such a process: threads that wait in the kernel
    for their writes live on, and the writes may come.
    """
    threads = os.path.join(process, "task")
    try:
        with open(os.path.join(process, "cmdline"), "rb") as file:
            text = file.read()
        if not text:
            for thread in os.listdir(threads):
                with open(os.path.join(threads, thread, "cmdline"), "rb") as file:
                    text = text or file.read()
    except OSError:
        return [b""]  # it ended while we looked
    return text.split(b"\0")


def _is_qemu_of(words: list[bytes], guest: bytes) -> bool:
    program = os.path.basename(words[0])  # qemu-system-x86_64, qemu-kvm, kvm
    if not program.startswith((b"qemu", b"kvm")) or b"-name" not in words[:-1]:
        return False
    option = words[words.index(b"-name") + 1]
    first = option.replace(b",,", b"\0").split(b",")[0].replace(b"\0", b",")
    return first in {guest, b"guest=" + guest}


def is_migrating(guest: str, status: str = LIBVIRT_STATUS) -> bool | None:
    """Whether libvirt's own record of this guest says that a live migration is under way.

    libvirtd writes the record when a migration begins here, on either end, and takes it back once
    it is sure where the guest runs; killed in between, it leaves the record behind. A guest in the
    hands of a post-copy migration runs on the target while its process lives on at the source, so
    a process alone would prove it ONLINE on both (measured). None: there is no such record.
    """
    try:
        with open(os.path.join(status, f"{guest}.xml"), "rb") as file:
            return re.search(rb"<job [^>]*async=.migration ", file.read()) is not None
    except OSError:
        return None


def log_says_migrated(guest: str, logs: str = LIBVIRT_LOGS) -> bool:
    """Whether the last thing that libvirt logged of this guest is that it left by live migration.

    The log outlives what libvirt itself forgets: the reason of "shut off" when the daemon restarts,
    and everything when the guest is undefined. It is a text, so it may raise a question but never
    answers one.
    """
    try:
        with open(os.path.join(logs, f"{guest}.log"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL_BYTES))
            said = _LOG_LINE.findall(file.read())
    except OSError:
        return False
    return bool(said) and said[-1].startswith(b", reason=migrated")
