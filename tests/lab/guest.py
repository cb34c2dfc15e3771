"""Guests of the laboratory, as domain XML.

Two kinds. A bare guest runs its BIOS for ever: it starts in half a second, has no disk and is deaf
to the power button. An obedient guest boots Linux in a few seconds, prints "guest: ready TAG" on
its console, and powers itself off when the power button is pressed (virsh shutdown).

All guests are emulated (TCG): /dev/kvm may be there and yet be useless inside another machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from tests.lab.namespaces import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.image import Image

#: What an obedient guest prints when it has come up, before its tag.
READY = "guest: ready"

#: Emulating what nobody looks at costs time at each boot.
_QUICK = (
    "console=ttyS0 quiet mitigations=off nokaslr audit=0 cryptomgr.notests "
    "rcupdate.rcu_expedited=1 tsc=reliable no_timer_check i8042.noaux"
)


def bare(name: str, *, uuid: str = "", memory_mib: int = 64, extra: str = "") -> str:
    """Return the document of a guest that needs nothing and does nothing.

    Args:
        name: the guest's name.
        uuid: libvirt makes one up if empty.
        memory_mib: its memory in MiB.
        extra: more XML for its <devices>.
    """
    return _domain(name, uuid, memory_mib, "<boot dev='hd'/>", extra)


def obedient(
    name: str,
    image: Image,
    console: Path,
    *,
    uuid: str = "",
    memory_mib: int = 128,
    words: Sequence[str] = (),
    tag: str = "",
    load_mib: int = 0,
    cdrom: Path | None = None,
    disk: Path | None = None,
    disk_format: str = "raw",
    shareable: bool = False,
    panic: bool = False,
    extra: str = "",
) -> str:
    """Return the document of a guest that boots Linux and obeys the power button.

    Any key makes it suspend to memory (virsh send-key NAME KEY_SLEEP; dompmwakeup wakes it up), and
    virsh inject-nmi makes its kernel panic.

    Args:
        name: the guest's name.
        image: what it boots, from build_image.
        console: file that its console is appended to.
        uuid: libvirt makes one up if empty.
        memory_mib: its memory in MiB.
        words: "deaf" ignores the power button; "writer" writes a heartbeat to the disk, see
            read_heartbeat.
        tag: a word it repeats in its ready line and its heartbeat; its name if empty.
        load_mib: so much of its memory it writes over and over, faster than any limited bandwidth
            (virsh migrate-setspeed) takes it away; prints "guest: loaded" when it is at it. Keep it
            well below memory_mib.
        cdrom: image of a CD, whose files it then prints on the console.
        disk: image of its disk.
        disk_format: raw or qcow2.
        shareable: several guests may open the disk at once; libvirt and QEMU then lock nothing.
        panic: it has a device to report a panic with, and stays as "crashed (panicked)".
        extra: more XML for its <devices>.
    """
    line = [_QUICK, f"tag={tag or name}", *words]
    devices = [
        f"<serial type='file'><source path={quoteattr(str(console))} append='on'/></serial>",
    ]
    if load_mib:
        line.append(f"load={load_mib}")
    if cdrom:
        line.append("cd")
        devices.append(
            "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
            f"<source file={quoteattr(str(cdrom))}/>"
            "<target dev='hda' bus='ide'/><readonly/></disk>"
        )
    if disk:
        devices.append(
            "<disk type='file' device='disk'>"
            f"<driver name='qemu' type='{disk_format}' cache='none'/>"
            f"<source file={quoteattr(str(disk))}/><target dev='vda' bus='virtio'/>"
            f"{'<shareable/>' if shareable else ''}</disk>"
        )
    if panic:
        devices.append("<panic model='isa'/>")
    boot = (
        f"<kernel>{escape(str(image.kernel))}</kernel>"
        f"<initrd>{escape(str(image.initramfs))}</initrd>"
        f"<cmdline>{escape(' '.join(line))}</cmdline>"
    )
    return _domain(name, uuid, memory_mib, boot, "".join(devices) + extra, panic=panic)


def _domain(
    name: str, uuid: str, memory_mib: int, boot: str, devices: str, *, panic: bool = False
) -> str:
    return f"""\
<domain type='qemu'>
  <name>{escape(name)}</name>
  {f"<uuid>{escape(uuid)}</uuid>" if uuid else ""}
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os>
  <features><acpi/></features>
  <pm><suspend-to-mem enabled='yes'/></pm>
  <on_crash>{"preserve" if panic else "destroy"}</on_crash>
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    {devices}
  </devices>
</domain>
"""


def wait_for_console(path: Path, text: str, timeout: float = 30, start: int = 0) -> str:
    """Wait until a console has printed a text, and return all it printed from byte start on.

    Raises:
        LabError: it did not within timeout seconds; the message has the console's last words.
    """
    end = time.monotonic() + timeout
    while True:
        printed = path.read_bytes()[start:] if path.exists() else b""
        if text.encode() in printed:
            return printed.decode(errors="replace")
        if time.monotonic() > end:
            last = printed[-1000:].decode(errors="replace")
            raise LabError(f"{path} has no {text!r} after {timeout} s; it ends in: {last!r}")
        time.sleep(0.1)


class Heartbeat(NamedTuple):
    """What a writer's last beat says.

    Attributes:
        tag: the guest's tag, as its document had it.
        boot: Linux's id of this boot: two guests started from one document differ in it, one that
            was migrated keeps it.
        beats: how many so far.
        foreign: how often the writer found another's beat on the disk where its own had been. If it
            is not zero, two guests wrote to one disk.
    """

    tag: str
    boot: str
    beats: int
    foreign: int


def read_heartbeat(disk: Path) -> Heartbeat | None:
    """Return the last beat on a raw disk, None if nobody ever wrote one."""
    with disk.open("rb") as sectors:
        line = sectors.read(512).partition(b"\n")[0].strip(b"\0").decode()
    if not line:
        return None
    tag, boot, beats, foreign = line.split()
    return Heartbeat(tag, boot, int(beats), int(foreign))
