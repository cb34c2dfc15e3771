"""Where a domain document has room for our CD, and the document with and without it.

Pure functions over what ``virsh dumpxml --inactive`` prints, in which libvirt has given every drive
its address. The administrator's own drives keep theirs: ours takes the last free place of a bus, so
that it comes after them for the firmware's boot order and for the guest's /dev/sr0.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_lowercase
from typing import NamedTuple

from lxml import etree

from kvmguest.drnet import CD_ALIAS
from kvmguest.errors import OperationFailed
from kvmguest.guestxml import our_cds, tree, without_our_cds


class Bus(NamedTuple):
    """A kind of bus: its places on one controller as (bus, unit), and names for its drives."""

    places: tuple[tuple[int, int], ...]
    names: tuple[str, ...]


_SD = tuple(f"sd{letter}" for letter in ascii_lowercase)
# In the order of choice. A virtio disk cannot be a CD, and a USB one only in recent libvirt.
_BUSES: Mapping[str, Bus] = {
    "ide": Bus(((0, 0), (0, 1), (1, 0), (1, 1)), tuple(f"hd{letter}" for letter in "abcd")),
    "sata": Bus(tuple((0, unit) for unit in range(6)), _SD),
    "scsi": Bus(tuple((0, unit) for unit in range(7)), _SD),
}
# Other SCSI controllers (SAS ones, for example) take no unit other than 0, or no CD.
_SCSI_MODELS = frozenset(
    {"virtio-scsi", "virtio-transitional", "virtio-non-transitional", "lsilogic", "ibmvscsi"}
)
# The machine types whose chipset has an IDE controller, even where the document lists none.
_WITH_IDE = ("pc-i440fx-", "pc-0.", "pc-1.", "rhel5.", "rhel6.")


class Slot(NamedTuple):
    """A place for a drive: its name, and its address on a controller."""

    bus: str
    name: str
    controller: str
    bus_number: int
    unit: int


def with_cd(text: str, path: str) -> str:
    """The document with our CD, and none other of ours, in it; ``path`` is the CD's image.

    Raises:
        OperationFailed: no bus of the domain can take another CD.
    """
    root = _without(text)
    slot = free_slot(root)
    devices = root.find("devices")
    if slot is None or devices is None:
        raise OperationFailed(
            "no place for the CD of DROpts: every IDE, SATA and SCSI drive is taken, or there is no"
            " such bus; add <controller type='scsi' model='virtio-scsi'/> to the guest"
        )
    cd = etree.SubElement(devices, "disk", type="file", device="cdrom")
    etree.SubElement(cd, "driver", name="qemu", type="raw")
    # Missing at a start, it fails the start. Missing after a migration (the target has not this
    # node's files) or at a restore, the guest goes on with an empty drive: it has read it long ago.
    etree.SubElement(cd, "source", file=path, startupPolicy="requisite")
    etree.SubElement(cd, "target", dev=slot.name, bus=slot.bus)
    etree.SubElement(cd, "readonly")
    etree.SubElement(cd, "alias", name=CD_ALIAS)
    place = {"controller": slot.controller, "bus": str(slot.bus_number), "unit": str(slot.unit)}
    etree.SubElement(cd, "address", {"type": "drive", "target": "0", **place})
    return etree.tostring(root, encoding="unicode")


def without_cd(text: str) -> str:
    """The document without our CD."""
    return etree.tostring(_without(text), encoding="unicode")


def has_cd(text: str, path: str) -> bool:
    """Whether our CD is in the document as ``with_cd`` puts it there."""
    found = our_cds(tree(text.encode(), "the definition"))
    file = "self::*[@device='cdrom' and readonly]/source[@startupPolicy='requisite']/@file"
    return [cd.xpath(f"string({file})") for cd in found] == [path]


def other_drives(text: str) -> list[bytes]:
    """Every disk and CD that is not ours, in a form that can be compared."""
    disks = _without(text).findall("devices/disk")
    return sorted(
        etree.tostring(disk, method="c14n2", strip_text=True)  # type: ignore[call-overload]
        for disk in disks
    )


def free_slot(root: etree._Element) -> Slot | None:
    """The last free place on the first bus that has one.

    A bus that has a drive already comes first: the guest knows it. (Debian's kernel for clouds, for
    example, has no driver for the SATA controller of every q35.)
    """
    taken = _taken(root)
    targets = root.findall("devices/disk/target")
    names = {target.get("dev") for target in targets}
    in_use = {target.get("bus") for target in targets}
    for bus in sorted(_BUSES, key=lambda bus: bus not in in_use):
        places, all_names = _BUSES[bus]
        free_names = [name for name in all_names if name not in names]
        for controller in reversed(_controllers(root, bus)):
            for bus_number, unit in reversed(places):
                is_free = (bus, controller, str(bus_number), str(unit)) not in taken
                if is_free and free_names:
                    return Slot(bus, free_names[-1], controller, bus_number, unit)
    return None


def _controllers(root: etree._Element, bus: str) -> list[str]:
    """Indices of the controllers of this kind, as the document writes them."""
    indices = [
        controller.get("index", "0")
        for controller in root.findall(f"devices/controller[@type='{bus}']")
        if bus != "scsi" or controller.get("model") in _SCSI_MODELS
    ]
    kind = root.find("os/type")
    machine = "" if kind is None else kind.get("machine", "")
    if bus == "ide" and not indices and (machine == "pc" or machine.startswith(_WITH_IDE)):
        return ["0"]
    return indices


def _taken(root: etree._Element) -> set[tuple[str, str, str, str]]:
    """Bus, controller, bus number and unit of every drive and passed-through SCSI device."""
    taken = set()
    for address in root.findall("devices/*/address[@type='drive']"):
        device = address.getparent()
        target = None if device is None else device.find("target")
        bus = "scsi" if target is None else target.get("bus", "")
        where = (address.get(key, "0") for key in ("controller", "bus", "unit"))
        taken.add((bus, *where))
    return taken  # type: ignore[return-value]


def _without(text: str) -> etree._Element:
    return without_our_cds(tree(text.encode(), "the definition"))
