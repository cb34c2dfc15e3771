"""XML of both generations, read by shape; and what must not be read at all."""

from __future__ import annotations

import pytest

from kvmguest.errors import OperationFailed
from kvmguest.rhev import wire
from kvmguest.rhev.wire import Api, Payload

V4 = b"""<?xml version="1.0" encoding="UTF-8"?>
<vm href="/ovirt-engine/api/vms/1" id="1"><name>g1</name><status>paused</status>
<status_detail>eio</status_detail><host href="/x" id="H"/><cluster id="C"/>
<high_availability><enabled>true</enabled></high_availability>
<placement_policy><affinity>pinned</affinity></placement_policy>
<payloads><payload><type>cdrom</type><files><file><name>a</name><content>x
y</content></file></files><volume_id>L</volume_id></payload></payloads></vm>"""
V3 = b"""<vm href="/api/vms/1" id="1"><name>g1</name>
<status><state>paused</state><detail>eio</detail></status><host id="H"/><cluster id="C"/>
<high_availability><enabled>true</enabled></high_availability>
<placement_policy><affinity>pinned</affinity></placement_policy>
<payloads><payload type="cdrom"><files><file><name>a</name><content>x
y</content></file></files><volume_id>L</volume_id></payload></payloads></vm>"""


@pytest.mark.parametrize("body", [V3, V4])
def test_a_vm_reads_the_same_in_both(body: bytes) -> None:
    vm = wire.read_vm(wire.parse(body))
    payload = Payload("cdrom", "L", (("a", "x\ny"),))
    assert vm == wire.Vm("1", "g1", "paused", "eio", "H", "C", "pinned", True, payload)


def test_nothing_missing_is_invented() -> None:
    vm = wire.read_vm(wire.parse(b'<vm id="1"><name>g1</name></vm>'))
    assert vm == wire.Vm("1", "g1", "", "", "", "")


BOMB = b"<!DOCTYPE vm [" + b"<!ENTITY a 'aaaaaaaaaa'>" + b"]><vm id='1'><name>&a;</name></vm>"
OUTSIDE = b"<!DOCTYPE vm [<!ENTITY f SYSTEM 'file:///etc/passwd'>]><vm id='1'><name>&f;</name></vm>"


@pytest.mark.parametrize(
    "body",
    [b"", b"<vm", b"<vm/><vm/>", b"\xff\xfe", b"<html>", BOMB, OUTSIDE, b"<!DOCTYPE vm><vm/>"],
)
def test_what_is_not_plain_xml_is_refused(body: bytes) -> None:
    with pytest.raises(OperationFailed):
        wire.parse(body)


@pytest.mark.parametrize("body", [b"<vms/>", b"<vm/>", b"<html/>", b'<host id="1"/>'])
def test_another_document_is_no_vm(body: bytes) -> None:
    with pytest.raises(OperationFailed):
        wire.read_vm(wire.parse(body))


def test_the_root_tells_the_generation() -> None:
    v4 = (
        b"<api><product_info><version><major>4</major><minor>5</minor></version>"
        b"</product_info></api>"
    )
    v3 = b'<api><product_info><version major="4" minor="1"/></product_info></api>'
    assert wire.read_api(wire.parse(v4)) == Api(4, (4, 5))
    assert wire.read_api(wire.parse(v3)) == Api(3, (4, 1))
    for body in (b"<api/>", b"<vm/>", v4.replace(b"<major>4", b"<major>four")):
        with pytest.raises(OperationFailed):
            wire.read_api(wire.parse(body))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<fault><reason>r</reason><detail>[a,\n b]</detail></fault>", "[a, b]"),
        (b"<fault><reason>r</reason></fault>", "r"),
        (b"<action><fault><detail>d</detail></fault></action>", "d"),
        (b"<action/>", ""),
    ],
)
def test_the_engines_reason(body: bytes, text: str) -> None:
    assert wire.fault(wire.parse(body)) == text


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (b"<action><status>complete</status></action>", False),
        (b"<action><status>failed</status></action>", True),
        (b"<action><status><state>failed</state></status></action>", True),
        (b"<action><fault/></action>", True),
    ],
)
def test_an_action_may_fail_with_200(body: bytes, *, failed: bool) -> None:
    assert wire.has_failed(wire.parse(body)) is failed


def test_what_is_sent() -> None:
    assert wire.action() == b"<action/>"
    assert wire.action(vm=wire.vm_on_host("H", 4)) == (
        b'<action><vm><placement_policy><hosts><host id="H"/></hosts></placement_policy></vm>'
        b"</action>"
    )
    assert wire.action(vm=wire.vm_on_host("H", 3)) == (
        b'<action><vm><placement_policy><host id="H"/></placement_policy></vm></action>'
    )


@pytest.mark.parametrize("api", [Api(3, (3, 1)), Api(3, (3, 6)), Api(3, (4, 1)), Api(4, (4, 5))])
def test_a_payload_survives_its_form(api: Api) -> None:
    label = "" if api.engine < (3, 3) else "L"
    payload = Payload("cdrom", label, (("a", "x=<&>\ny"),))
    sent = wire.vm_with_payload(payload, api).replace(b"<vm>", b'<vm id="1">')
    assert wire.read_vm(wire.parse(sent)).payload == payload
