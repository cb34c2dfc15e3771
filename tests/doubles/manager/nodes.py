"""Documents as small trees, and the two ways they go on the wire: XML and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple, Union
from xml.sax.saxutils import escape, quoteattr

Value = Union[str, int, bool]


class Node(NamedTuple):
    """One element: either text or children. Attributes keep their order on the wire."""

    name: str
    text: str | None
    attributes: dict[str, str]
    children: list[Node]


def node(
    name: str, /, *children: Node | None, text: Value | None = None, **attributes: Value
) -> Node:
    """An element; children that are None are left out."""
    return Node(
        name,
        None if text is None else in_text(text),
        {key: in_text(value) for key, value in attributes.items()},
        [child for child in children if child is not None],
    )


def leaf(name: str, value: Value | None) -> Node | None:
    """An element with text, or nothing where the engine has no value."""
    return None if value is None else node(name, text=value)


def in_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def to_xml(root: Node) -> bytes:
    lines = ['<?xml version="1.0" encoding="UTF-8" standalone="yes"?>']
    _write(root, "", lines)
    return ("\n".join(lines) + "\n").encode()


def _write(element: Node, indent: str, lines: list[str]) -> None:
    head = element.name
    for key, value in element.attributes.items():
        head += f" {key}={quoteattr(value)}"
    if element.children:
        lines.append(f"{indent}<{head}>")
        for child in element.children:
            _write(child, indent + "    ", lines)
        lines.append(f"{indent}</{element.name}>")
    elif element.text is None:
        lines.append(f"{indent}<{head}/>")
    else:
        lines.append(f"{indent}<{head}>{escape(element.text)}</{element.name}>")


_LISTS = {
    "vms": "vm",
    "hosts": "host",
    "clusters": "cluster",
    "payloads": "payload",
    "files": "file",
    "devices": "device",
    "statistics": "statistic",
    "values": "value",
    "affinity_groups": "affinity_group",
}


def to_json(root: Node) -> bytes:
    """Objects without the root's name; numbers and booleans are strings."""
    return json.dumps(_plain(root)).encode()


def _plain(element: Node) -> object:
    if element.name in _LISTS:
        item = _LISTS[element.name]
        return {item: [_plain(child) for child in element.children]} if element.children else {}
    if not element.children and not element.attributes:
        return element.text or ""
    members: dict[str, object] = dict(element.attributes)
    for child in element.children:
        if child.name == "link":
            links = members.setdefault("link", [])
            assert isinstance(links, list)
            links.append(_plain(child))
        else:
            members[child.name] = _plain(child)
    return members


def without(root: Node, names: Iterable[str]) -> Node:
    """The same tree without the elements of these names, at any depth."""
    unwanted = frozenset(names)
    kept = [without(child, unwanted) for child in root.children if child.name not in unwanted]
    return root._replace(children=kept)
