"""Domain documents as files: reading strictly, comparing, and replacing without ever losing one.

Nothing here knows libvirt. The files may come from another host's hands, so entities, DTDs and the
network are off and sizes are limited.
"""

from __future__ import annotations

import copy
import errno
import os
import stat
import tempfile
from typing import NamedTuple

from lxml import etree

from kvmguest.drnet import CD_ALIAS
from kvmguest.errors import OperationFailed

MAX_BYTES = 4 << 20
MAX_NVRAM_BYTES = 64 << 20
"""AArch64 firmware has variable stores of 64 MiB; those of x86 are below 1 MiB."""
_AUTOMATIC_NVRAM = "/var/lib/libvirt/qemu/nvram/{}_VARS.fd"
"""What libvirt chooses, and does not write into the inactive document (libvirt 9.0, measured)."""


class Document(NamedTuple):
    """One domain document. ``uuid`` is 32 small hex digits, "" where the document names none.

    ``nvram`` is the path of the UEFI variables, "" where there is no such file.
    """

    name: str
    uuid: str
    nvram: str
    text: str


def tree(raw: bytes, where: str) -> etree._Element:
    """The root of the domain document in ``raw``; ``where`` names it in the message.

    Raises:
        OperationFailed: too large, or no domain document.
    """
    if len(raw) > MAX_BYTES:
        raise OperationFailed(f"{where} is larger than {MAX_BYTES >> 20} MiB: no domain document")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise OperationFailed(f"{where} is no XML document: {error}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise OperationFailed(f"{where} has a DTD, which no domain document has")
    if root.tag != "domain":
        raise OperationFailed(f"{where} describes <{root.tag}>, not a <domain>")
    return root


def parse(raw: bytes, where: str) -> Document:
    """The domain document in ``raw`` without our CD, which is made for one site and one start.

    Raises:
        OperationFailed: too large, or no domain document.
    """
    root = without_our_cds(tree(raw, where))
    # As libvirt reads it, blanks and all: read otherwise, a guest would start under another name.
    name = str(root.xpath("string(name)"))
    return Document(
        name=name,
        uuid=(root.findtext("uuid") or "").strip().replace("-", "").lower(),
        nvram=_nvram_path(root, name),
        text=etree.tostring(root, encoding="unicode"),
    )


def our_cds(root: etree._Element) -> list[etree._Element]:
    """The CDs that ``dr_online`` put into this document: one, or none."""
    disks = root.findall("devices/disk")
    return [disk for disk in disks if disk.find(f"alias[@name='{CD_ALIAS}']") is not None]


def without_our_cds(root: etree._Element) -> etree._Element:
    """The same root, without them."""
    for disk in our_cds(root):
        parent = disk.getparent()
        if parent is not None:
            parent.remove(disk)
    return root


def read(path: str, guest: str) -> Document:
    """The domain document in the file ``path``, if it belongs to ``guest``.

    Raises:
        OperationFailed: unreadable, too large, no domain document, or another guest's.
    """
    document = parse(read_file(path, MAX_BYTES), path)
    if document.name != guest:
        raise OperationFailed(f"{path} describes {document.name!r}, not the domain {guest!r}")
    return document


def is_same(one: Document, other: Document) -> bool:
    """Whether two documents differ in nothing but comments, blanks and the order of attributes.

    What libvirt adds (addresses, defaults, controllers) depends on its version, and so is not
    guessed here: whoever asks defines the document and compares what libvirt made of it.
    """
    return _canonical(one) == _canonical(other)


def with_macs_of(new: Document, old: Document) -> str:
    """The text of ``new`` with the MAC addresses of ``old`` where it names none.

    libvirt makes up a fresh address for such an interface each time the document is defined. The
    interfaces are matched by their order, and only when there are equally many.
    """
    root = tree(new.text.encode(), "the new document")
    wanting = root.findall("devices/interface")
    known = tree(old.text.encode(), "the old document").findall("devices/interface")
    if len(wanting) == len(known):
        for interface, before in zip(wanting, known):
            mac = before.find("mac")
            if interface.find("mac") is None and mac is not None:
                interface.append(copy.deepcopy(mac))
    return etree.tostring(root, encoding="unicode")


def writable_disks(document: Document) -> list[str]:
    """What only the guest writes to: path or name of each disk's source, "" where it has none.

    Disks that it shares with other guests are named only when it has no other.
    """
    root = tree(document.text.encode(), "the document")
    disks = [
        disk
        for disk in root.findall("devices/disk")
        if disk.get("device", "disk") in {"disk", "lun"} and disk.find("readonly") is None
    ]
    own = [disk for disk in disks if disk.find("shareable") is None]
    sources = [disk.find("source") for disk in own or disks]
    # A file, a block device, or a network volume: each kind has its attribute.
    names = ("file", "dev", "name")
    return [
        next((source.get(n, "") for n in names if source.get(n)), "") if source is not None else ""
        for source in sources
    ]


def is_variable_store(content: bytes) -> bool:
    """Whether this can be a UEFI variable store: a firmware volume, or a qcow2 image of one.

    Source: UEFI Platform Initialization, EFI_FIRMWARE_VOLUME_HEADER (signature at byte 40).
    """
    return content[40:44] == b"_FVH" or content[:4] == b"QFI\xfb"


def read_file(path: str, limit: int) -> bytes:
    """The bytes of a regular file; opening a FIFO or a device would block or act.

    Raises:
        OperationFailed: it cannot be read, is no regular file, or is larger than ``limit``.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OperationFailed(f"{path} is not a regular file")
            raw = file.read(limit + 1)
    except OSError as error:
        raise OperationFailed(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > limit:
        raise OperationFailed(f"{path} is larger than {limit >> 20} MiB")
    return raw


def replace_file(path: str, content: bytes, mode: int = 0o600) -> None:
    """Put ``content`` in place of ``path`` in one step: it is old or new, never half.

    Written beside, fsynced, renamed, and the directory fsynced.

    Raises:
        OperationFailed: it could not be written; ``path`` is as it was.
    """
    directory = os.path.dirname(path)
    try:
        handle, beside = tempfile.mkstemp(prefix=".kvmguest-", dir=directory)
    except OSError as error:
        raise OperationFailed(f"{path} cannot be written: {error.strerror}") from error
    try:
        with open(handle, "wb") as file:
            file.write(content)
            os.fchmod(handle, mode)
            file.flush()
            os.fsync(handle)
        os.replace(beside, path)
        _fsync_directory(directory)
    except OSError as error:
        if os.path.lexists(beside):
            os.unlink(beside)
        raise OperationFailed(f"{path} cannot be written: {error.strerror}") from error


def _nvram_path(root: etree._Element, name: str) -> str:
    nvram = root.find("os/nvram")
    if nvram is None:
        is_automatic = root.find("os[@firmware='efi']") is not None
        return _AUTOMATIC_NVRAM.format(name) if is_automatic else ""
    source = nvram.find("source")
    return source.get("file", "") if source is not None else (nvram.text or "").strip()


def _fsync_directory(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # CIFS cannot, and need not
            raise
    finally:
        os.close(handle)


def _canonical(document: Document) -> bytes:
    root = tree(document.text.encode(), "the document")
    canonical: bytes = etree.tostring(  # type: ignore[call-overload] # the stubs lack strip_text
        root, method="c14n2", strip_text=True
    )
    return canonical
