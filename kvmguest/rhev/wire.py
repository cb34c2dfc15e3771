"""What goes over the wire: XML of both API generations, in and out.

Version 3 puts a status into ``<status><state>``, version numbers and a payload's type into
attributes; version 4 uses plain elements. What is read is told apart by its shape, so a reader
needs no version; what is sent is built for one. Every document is untrusted: no DTD, no entity, no
network, and a size that ``transport`` has limited.
"""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree

from kvmguest.errors import OperationFailed

MAX_DETAIL = 500
"""Characters of the engine's own text that are quoted; a scheduling refusal lists every host."""


class Payload(NamedTuple):
    """A CD (or floppy) that the engine builds at the VM's start; ``files`` are (name, text)."""

    kind: str
    volume_id: str
    files: tuple[tuple[str, str], ...]


class Vm(NamedTuple):
    """One VM as RHEV-M shows it; every text is "" where the element is missing."""

    id: str
    name: str
    status: str
    detail: str
    host_id: str
    cluster_id: str
    affinity: str = ""
    is_highly_available: bool = False
    payload: Payload | None = None


class Host(NamedTuple):
    """One host; ``uuid`` is its hardware's, in lower case, "" where it is not shown."""

    id: str
    name: str
    address: str
    status: str
    cluster_id: str
    uuid: str


class Api(NamedTuple):
    """The root of the API: which generation it speaks, and the engine's (major, minor)."""

    version: int
    engine: tuple[int, int]


def parse(body: bytes) -> etree._Element:
    """The root element of an answer.

    Raises:
        OperationFailed: it is not whole, well-formed XML without a DTD.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise OperationFailed(
            f"RHEV-M's XML cannot be read ({str(error)[:120]}); see what is between it and us"
        ) from None
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr] # a parsed one has it
        raise OperationFailed("RHEV-M's XML has a DTD, which it never sends; see RHEVMInfo.URL")
    return root


def read_api(root: etree._Element) -> Api:
    """The API's root document.

    Raises:
        OperationFailed: it is XML, but not that document.
    """
    version = root.find("product_info/version")
    if root.tag != "api" or version is None:
        raise OperationFailed(f"<{root.tag}> is not the root of RHEV-M's API; see RHEVMInfo.URL")
    generation = 3 if version.get("major") else 4
    major, minor = (version.get(name) or _text(version, name) for name in ("major", "minor"))
    if not (major.isdigit() and minor.isdigit()):
        raise OperationFailed("RHEV-M does not tell its version; see RHEVMInfo.URL")
    return Api(generation, (int(major), int(minor)))


def read_vm(element: etree._Element) -> Vm:
    """A <vm>.

    Raises:
        OperationFailed: it is another element, or has no id.
    """
    _expect(element, "vm")
    status, detail = _status(element)
    return Vm(
        element.get("id", ""),
        _text(element, "name"),
        status,
        detail,
        _reference(element, "host"),
        _reference(element, "cluster"),
        _text(element, "placement_policy/affinity"),
        _text(element, "high_availability/enabled") == "true",
        _payload(element.find("payloads/payload")),
    )


def read_host(element: etree._Element) -> Host:
    """A <host>.

    Raises:
        OperationFailed: it is another element, or has no id.
    """
    _expect(element, "host")
    return Host(
        element.get("id", ""),
        _text(element, "name"),
        _text(element, "address"),
        _status(element)[0],
        _reference(element, "cluster"),
        _text(element, "hardware_information/uuid").lower(),
    )


def fault(root: etree._Element) -> str:
    """The engine's reason for a refusal, "" when there is none."""
    found = root if root.tag == "fault" else root.find("fault")
    if found is None:
        return ""
    text = _text(found, "detail") or _text(found, "reason")
    return " ".join(text.split())[:MAX_DETAIL]


def has_failed(root: etree._Element) -> bool:
    """Whether an action's answer says that it failed, whatever the HTTP status was."""
    return root.find("fault") is not None or _status(root)[0] == "failed"


def action(**parts: str | etree._Element) -> bytes:
    """An <action> with these children, e.g. ``action(force="true")``."""
    root = etree.Element("action")
    for name, value in parts.items():
        if isinstance(value, str):
            etree.SubElement(root, name).text = value
        else:
            root.append(value)
    return etree.tostring(root)


def host_reference(host_id: str) -> etree._Element:
    """``<host id="..."/>``."""
    return etree.Element("host", id=host_id)


def vm_on_host(host_id: str, version: int) -> etree._Element:
    """The <vm> inside start's action that limits the start to one host."""
    vm = etree.Element("vm")
    policy = etree.SubElement(vm, "placement_policy")
    if version >= 4:
        policy = etree.SubElement(policy, "hosts")
    policy.append(host_reference(host_id))
    return vm


def vm_with_payload(payload: Payload | None, api: Api) -> bytes:
    """A <vm> that sets the payload, or removes it; the three forms are the engine's own.

    3.1 and 3.2 know one file and no label; 3.3 to 3.6 (and version 3 of 4.x) have the type as an
    attribute, version 4 as an element.
    """
    vm = etree.Element("vm")
    payloads = etree.SubElement(vm, "payloads")
    if payload is None:
        return etree.tostring(vm)
    element = etree.SubElement(payloads, "payload")
    if api.version >= 4:
        etree.SubElement(element, "type").text = payload.kind
    else:
        element.set("type", payload.kind)
    if api.engine < (3, 3):
        name, content = payload.files[0]
        file = etree.SubElement(element, "file", name=name)
        etree.SubElement(file, "content").text = content
        return etree.tostring(vm)
    files = etree.SubElement(element, "files")
    for name, content in payload.files:
        file = etree.SubElement(files, "file")
        etree.SubElement(file, "name").text = name
        etree.SubElement(file, "content").text = content
    etree.SubElement(element, "volume_id").text = payload.volume_id
    return etree.tostring(vm)


def _payload(element: etree._Element | None) -> Payload | None:
    if element is None:
        return None
    single = element.find("file")
    if single is not None:
        files = [(single.get("name") or _text(single, "name"), _content(single))]
    else:
        files = [(_text(file, "name"), _content(file)) for file in element.findall("files/file")]
    kind = element.get("type") or _text(element, "type")
    return Payload(kind or "cdrom", _text(element, "volume_id"), tuple(files))


def _status(element: etree._Element) -> tuple[str, str]:
    """The word and the detail, from ``<status>up`` or ``<status><state>up``."""
    word = _text(element, "status") or _text(element, "status/state")
    return word, _text(element, "status/detail") or _text(element, "status_detail")


def _expect(element: etree._Element, tag: str) -> None:
    if element.tag != tag or not element.get("id"):
        raise OperationFailed(f"RHEV-M sent <{element.tag}> where a <{tag}> with an id was due")


def _reference(element: etree._Element, name: str) -> str:
    found = element.find(name)
    return "" if found is None else found.get("id", "")


def _text(element: etree._Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _content(file: etree._Element) -> str:
    return file.findtext("content") or ""
