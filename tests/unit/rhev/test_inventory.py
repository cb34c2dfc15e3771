"""Which host this node is: by the best mark, exactly one, and never against its hardware."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmguest.rhev import identity
from kvmguest.rhev.identity import Identity
from kvmguest.rhev.inventory import identify
from kvmguest.rhev.wire import Host

MINE = "4c4c4544-0000-1000-8000-00000000000a"
OTHER = "4c4c4544-0000-1000-8000-00000000000b"
NODE = Identity((MINE,), ("node1",), "")
SHARED = Identity((OTHER, MINE), ("node1",), "")


def host(name: str, uuid: str = "", address: str = "") -> Host:
    return Host(f"id-{name}", name, address or f"{name}.invalid", "up", "C", uuid)


@pytest.mark.parametrize(
    ("node", "hosts", "expected"),
    [
        (NODE, [host("a", MINE), host("b", OTHER)], "a"),
        (NODE, [host("node1", OTHER), host("b", MINE)], "b"),  # hardware wins over the name
        (NODE, [host("node1", OTHER), host("b", OTHER)], None),  # a name is not enough then
        (NODE, [host("node1"), host("b")], "node1"),
        (NODE, [host("a", address="NODE1"), host("node1")], "a"),  # address before name
        (NODE, [host("a", MINE), host("b", MINE)], None),  # bad hardware: two of one UUID
        (NODE, [host("a", MINE), host("node1", MINE)], "node1"),  # told apart by the name
        (NODE._replace(mapped="b"), [host("a"), host("b", OTHER)], "b"),  # the site says so
        (NODE._replace(mapped="z"), [host("a"), host("b")], None),
        (Identity((), ("node1",), ""), [host("node1", OTHER)], "node1"),
        (NODE, [host("Node1")], None),  # names of hosts are exact
        (NODE, [host("a", address="localhost"), host("b", address="127.0.0.1")], None),
        (NODE, [], None),
        # vdsm goes by vdsm.id, so a hardware UUID beside it may be that of several boards
        (SHARED, [host("b", MINE)], None),
        (SHARED, [host("node1", MINE)], "node1"),
        (SHARED, [host("a", OTHER)], "a"),
        # a placeholder of the vendor says neither who it is nor who it is not
        (NODE, [host("node1", "f" * 8 + "-ffff-ffff-ffff-" + "f" * 12)], "node1"),
    ],
)
def test_identify(node: Identity, hosts: list[Host], expected: str | None) -> None:
    me, why = identify(node, hosts)
    assert (me.name if me else None) == expected
    assert bool(why) == (me is None)


def test_an_address_of_this_machine() -> None:
    assert not identity.is_own_address("127.0.0.1")
    assert not identity.is_own_address("192.0.2.77")
    assert not identity.is_own_address("no-such-name.invalid")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("node1", "node1.example.com", True),
        ("NODE1.example.com", "node1.EXAMPLE.com.", True),
        ("node1.a.com", "node1.b.com", False),
        ("node1", "node10", False),
        ("10.0.0.1", "10", False),
    ],
)
def test_short_and_full_names(one: str, other: str, *, same: bool) -> None:
    assert identity.same_name(one, other) is same
    assert identity.same_name(other, one) is same


def test_the_marks_of_a_node(tmp_path: Path) -> None:
    files = {
        "etc/vdsm/vdsm.id": OTHER.upper() + "\n",
        "sys/class/dmi/id/product_uuid": MINE + "\n",
        "conf/sysname": "NodeOne\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    node = identity.read({"NodeOne": "h7"}, {"VCS_CONF": str(tmp_path)}, str(tmp_path))
    assert node.vdsm_ids == (OTHER, MINE)
    assert node.names[0] == "NodeOne"
    assert node.mapped == "h7"
    empty = identity.read({}, {"VCS_CONF": "/nonexistent"}, str(tmp_path / "none"))
    assert empty.vdsm_ids == ()
    assert node.mark() != empty.mark()


@pytest.mark.parametrize(
    "placeholder",
    [
        "03000200-0400-0500-0006-000700080009",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "Not Settable",
    ],
)
def test_a_placeholder_of_the_vendor_is_no_mark(tmp_path: Path, placeholder: str) -> None:
    file = tmp_path / "sys/class/dmi/id/product_uuid"
    file.parent.mkdir(parents=True)
    file.write_text(placeholder + "\n")
    assert identity.read({}, {"VCS_CONF": "/nonexistent"}, str(tmp_path)).vdsm_ids == ()
