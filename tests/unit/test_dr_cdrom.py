"""Which place our CD gets, over many documents as libvirt prints them."""

from __future__ import annotations

import pytest
from lxml import etree

from kvmguest import dr_cdrom, guestxml
from kvmguest.errors import OperationFailed

PATH = "/var/lib/kvmguest/dr.d/we\"b<&'.iso"


def drive(bus: str, name: str, controller: int, unit_bus: int, unit: int, *, kind: str = "") -> str:
    kind = kind or ("cdrom" if bus == "ide" else "disk")
    return (
        f"<disk type='file' device='{kind}'><source file='/{name}'/>"
        f"<target dev='{name}' bus='{bus}'/><address type='drive' controller='{controller}'"
        f" bus='{unit_bus}' target='0' unit='{unit}'/></disk>"
    )


def controller(kind: str, index: int = 0, model: str = "") -> str:
    model = f" model='{model}'" if model else ""
    return f"<controller type='{kind}' index='{index}'{model}/>"


def document(machine: str, *devices: str, arch: str = "x86_64") -> str:
    return (
        "<domain type='kvm'><name>web</name><uuid>7d1f53a6-0a5e-4a39-8a44-52c3ab5b2a01</uuid>"
        f"<os><type arch='{arch}' machine='{machine}'>hvm</type></os>"
        f"<devices>{''.join(devices)}<interface type='user'/></devices></domain>"
    )


ROOT_DISK = (
    "<disk type='file' device='disk'><source file='/root'/><target dev='vda' bus='virtio'/>"
    "<address type='pci' domain='0' bus='0' slot='4' function='0'/></disk>"
)
IDE = [drive("ide", f"hd{'abcd'[n]}", 0, n // 2, n % 2) for n in range(4)]
SATA = [drive("sata", f"sd{'abcdef'[n]}", 0, 0, n) for n in range(6)]
SCSI = [drive("scsi", f"sd{'abcdefg'[n]}", 0, 0, n) for n in range(7)]
VIRTIO_SCSI = controller("scsi", model="virtio-scsi")
PASSED = (
    "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/></source>"
    "<address type='drive' controller='0' bus='0' target='0' unit='6'/></hostdev>"
)

PLACES = {
    "pc, nothing": (document("pc-i440fx-7.2"), "ide hdd 0 1 1"),
    "pc, short name": (document("pc"), "ide hdd 0 1 1"),
    "pc of RHEL 7": (document("pc-i440fx-rhel7.6.0", ROOT_DISK), "ide hdd 0 1 1"),
    "pc of RHEL 6": (document("rhel6.6.0"), "ide hdd 0 1 1"),
    "pc, a CD": (document("pc-i440fx-7.2", controller("ide"), IDE[0]), "ide hdd 0 1 1"),
    "pc, the last is taken": (
        document("pc-i440fx-7.2", controller("ide"), IDE[3]),
        "ide hdc 0 1 0",
    ),
    "pc, one is free": (document("pc-i440fx-7.2", controller("ide"), *IDE[1:]), "ide hda 0 0 0"),
    "pc, name and place differ": (
        document("pc-i440fx-7.2", controller("ide"), drive("ide", "hdd", 0, 0, 0)),
        "ide hdc 0 1 1",
    ),
    "pc, IDE full": (document("pc-i440fx-7.2", controller("ide"), *IDE), ""),
    "pc, IDE full, SCSI": (document("pc", controller("ide"), *IDE, VIRTIO_SCSI), "scsi sdz 0 0 6"),
    "pc, IDE full, AHCI": (
        document("pc", controller("ide"), *IDE, controller("sata"), SATA[5]),
        "sata sdz 0 0 4",
    ),
    "q35": (document("pc-q35-7.2", controller("sata"), ROOT_DISK), "sata sdz 0 0 5"),
    "q35, CDs": (document("pc-q35-7.2", controller("sata"), SATA[0], SATA[5]), "sata sdz 0 0 4"),
    "q35, SATA full": (document("pc-q35-7.2", controller("sata"), *SATA), ""),
    "q35, SATA full, a second one": (
        document("pc-q35-7.2", controller("sata"), controller("sata", 1), *SATA),
        "sata sdz 1 0 5",
    ),
    "q35, SATA full, SCSI": (
        document("pc-q35-7.2", controller("sata"), *SATA, controller("scsi", 0, "lsilogic")),
        "scsi sdz 0 0 6",
    ),
    "aarch64 virt, virtio only": (document("virt-7.2", ROOT_DISK, arch="aarch64"), ""),
    "aarch64 virt, SCSI": (
        document("virt-7.2", VIRTIO_SCSI, SCSI[0], arch="aarch64"),
        "scsi sdz 0 0 6",
    ),
    "pseries": (
        document("pseries-7.2", controller("scsi", 0, "ibmvscsi"), SCSI[6], arch="ppc64le"),
        "scsi sdz 0 0 5",
    ),
    "pc, a SCSI disk": (document("pc", VIRTIO_SCSI, SCSI[0]), "scsi sdz 0 0 6"),
    "pc, a SCSI disk and a CD": (document("pc", VIRTIO_SCSI, SCSI[0], IDE[0]), "ide hdd 0 1 1"),
    "q35, a SCSI disk": (
        document("pc-q35-7.2", controller("sata"), VIRTIO_SCSI, SCSI[0]),
        "scsi sdz 0 0 6",
    ),
    "q35, SCSI full": (
        document("pc-q35-7.2", controller("sata"), VIRTIO_SCSI, *SCSI),
        "sata sdz 0 0 5",
    ),
    "SCSI, a passed-through device": (document("virt", VIRTIO_SCSI, PASSED), "scsi sdz 0 0 5"),
    "SCSI full, a second one": (
        document("virt", VIRTIO_SCSI, controller("scsi", 1, "virtio-scsi"), *SCSI),
        "scsi sdz 1 0 6",
    ),
    "SCSI full": (document("virt", VIRTIO_SCSI, *SCSI), ""),
    "SAS": (document("virt", controller("scsi", 0, "lsisas1068")), ""),
    "the name sdz is taken": (
        document("virt", VIRTIO_SCSI, drive("usb", "sdz", 0, 0, 6)),
        "scsi sdy 0 0 6",
    ),
    "microvm": (document("microvm", ROOT_DISK), ""),
}


@pytest.mark.parametrize("kind", PLACES)
def test_the_place(kind: str) -> None:
    text, wanted = PLACES[kind]
    slot = dr_cdrom.free_slot(guestxml.tree(text.encode(), "x"))
    assert (" ".join(str(part) for part in slot) if slot else "") == wanted


@pytest.mark.parametrize("kind", [kind for kind, (_text, wanted) in PLACES.items() if wanted])
def test_in_and_out_again(kind: str) -> None:
    text, _wanted = PLACES[kind]
    assert not dr_cdrom.has_cd(text, PATH)
    made = dr_cdrom.with_cd(text, PATH)
    assert dr_cdrom.has_cd(made, PATH)
    assert not dr_cdrom.has_cd(made, PATH + "x")
    assert dr_cdrom.other_drives(made) == dr_cdrom.other_drives(text)
    assert dr_cdrom.with_cd(made, PATH) == made, "never two of them"
    canonical = etree.canonicalize(text)
    assert etree.canonicalize(dr_cdrom.without_cd(made)) == canonical
    assert etree.canonicalize(guestxml.parse(made.encode(), "x").text) == canonical


@pytest.mark.parametrize("kind", [kind for kind, (_text, wanted) in PLACES.items() if not wanted])
def test_no_place(kind: str) -> None:
    with pytest.raises(OperationFailed, match="no place for the CD"):
        dr_cdrom.with_cd(PLACES[kind][0], PATH)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<readonly/>", ""),
        (' startupPolicy="requisite"', ""),
        (' startupPolicy="requisite"', ' startupPolicy="optional"'),
        ('device="cdrom"', 'device="disk"'),
        ("dr.d", "elsewhere"),
    ],
)
def test_a_changed_cd_is_made_anew(old: str, new: str) -> None:
    made = dr_cdrom.with_cd(PLACES["q35"][0], PATH)
    assert old in made
    changed = made.replace(old, new)
    assert not dr_cdrom.has_cd(changed, PATH)
    assert dr_cdrom.with_cd(changed, PATH) == made


def test_the_administrators_drive_with_our_file_is_his() -> None:
    """Only the alias makes a CD ours."""
    own = drive("ide", "hda", 0, 0, 0).replace("/hda", "/var/lib/kvmguest/dr.d/web.iso")
    text = document("pc", own)
    assert not dr_cdrom.has_cd(text, "/var/lib/kvmguest/dr.d/web.iso")
    assert guestxml.parse(text.encode(), "x").text.count("<disk") == 1
