"""Reading request bodies the way the engine's JAXB does: strict XML, unknown elements ignored."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import NamedTuple

from tests.doubles.manager.model import Payload
from tests.doubles.manager.profiles import Profile
from tests.doubles.manager.refusal import BAD, CONFLICT, Refused

SIZE_LIMIT = 8192  # PayloadSize, characters; the engine's text says 16K
VOLUME_ID_LIMIT = 32
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_KINDS = frozenset({"cdrom", "floppy"})


class Reference(NamedTuple):
    """An object named in a body, by id or by name."""

    id: str
    name: str


def parse(body: bytes, root: str) -> ET.Element:
    """The root element of a request body.

    Raises:
        Refused: 400, no well-formed XML, a DTD, or another root element.
    """
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise _malformed(root)
    try:
        element = ET.fromstring(body)  # noqa: S314 - a DTD is refused above
    except ET.ParseError:
        raise _malformed(root) from None
    if element.tag != root:
        raise _malformed(root)
    return element


def _malformed(root: str) -> Refused:
    return Refused(
        BAD,
        f"For correct usage, see: the description of {root}",
        reason="Request syntactically incorrect.",
        plain=True,
    )


def boolean(element: ET.Element | None, path: str) -> bool | None:
    """true, false, 1 or 0; None if absent.

    Raises:
        Refused: 400 for any other word.
    """
    if element is None:
        return None
    found = text(element, path)
    if found is None:
        return None
    if found not in _BOOLEANS:
        raise Refused(BAD, f"Invalid value: {found}", reason="Invalid value", plain=True)
    return _BOOLEANS[found]


def text(element: ET.Element, path: str) -> str | None:
    found = element.find(path)
    return None if found is None else (found.text or "").strip()


def host_in_policy(vm: ET.Element, version: int, profile: Profile) -> Reference | None:
    """The first host of <placement_policy> in the forms this version and release read."""
    paths = ["placement_policy/hosts/host"]
    if version == 3:
        paths = ["placement_policy/host"]
        if profile.has_host_list_in_policy:
            paths.append("placement_policy/hosts/host")
    for path in paths:
        found = vm.find(path)
        if found is not None:
            return reference(found)
    return None


def reference(element: ET.Element) -> Reference:
    return Reference(element.get("id", ""), text(element, "name") or "")


def payload(vm: ET.Element, version: int, profile: Profile) -> Payload:
    """The first <payload> of a VM in this release's own form; the other forms do not count.

    Raises:
        Refused: type, size or volume id.
    """
    found = vm.find("payloads/payload")
    if found is None:
        return Payload()
    kind = found.get("type") if version == 3 else text(found, "type")
    if kind is not None and kind not in _KINDS:
        if version == 3:
            raise Refused(BAD, f"Invalid value: {kind}", reason="Invalid value", plain=True)
        raise Refused(CONFLICT, "VM Payload only supported in CDROM or Floppy devices.")
    files = _single_file(found) if profile.single_file_payload else _files(found)
    if any(len(content) > SIZE_LIMIT for content in files.values()):
        raise Refused(BAD, "Payload is limited to 16K")
    volume_id = "" if profile.single_file_payload else text(found, "volume_id") or ""
    if len(volume_id) > VOLUME_ID_LIMIT:
        raise Refused(BAD, "Payload volume id is too long")
    return Payload(kind or "cdrom", files, volume_id)


def _single_file(found: ET.Element) -> dict[str, str]:
    element = found.find("file")
    if element is None:
        return {}
    return {element.get("name", ""): element.findtext("content") or ""}


def _files(found: ET.Element) -> dict[str, str]:
    return {
        element.findtext("name") or "": element.findtext("content") or ""
        for element in found.findall("files/file")
    }
