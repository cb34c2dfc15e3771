"""Domain XML files: reading one that may be defined under a guest's name."""

from __future__ import annotations

from lxml import etree

from kvmguest.errors import OperationFailed

MAX_BYTES = 4 << 20


def read(path: str, guest: str) -> str:
    """The domain document in ``path``, if it is one and belongs to ``guest``.

    Entities, DTDs and the network are off: the file may come from another host's hands.

    Raises:
        OperationFailed: unreadable, too large, no domain document, or another guest's.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OperationFailed(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise OperationFailed(f"{path} is larger than {MAX_BYTES >> 20} MiB: not a domain document")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise OperationFailed(f"{path} is no XML document: {error}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise OperationFailed(f"{path} has a DTD, which no domain document has")
    # As libvirt reads it, blanks and all: read otherwise, a guest would start under another name.
    name = root.xpath("string(name)")
    if root.tag != "domain" or name != guest:
        raise OperationFailed(f"{path} describes <{root.tag}> {name!r}, not the domain {guest!r}")
    return etree.tostring(root, encoding="unicode")
