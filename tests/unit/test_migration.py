"""Plans and verdicts of a migration, without a hypervisor."""

from __future__ import annotations

import pytest

from kvmguest.errors import OperationFailed
from kvmguest.migration import AtTarget, plan, settle
from kvmguest.options import Options
from kvmguest.states import Condition, State, Verdict

RUNNING = AtTarget("running", "migrated")
ABSENT = AtTarget("not defined", "")
ARRIVING = AtTarget("paused", "migrating")
SILENT = AtTarget("no answer", "no route")
OFF = AtTarget("shut off", "failed")


def at_source(condition: Condition) -> Verdict:
    return Verdict(State.UNKNOWN, 0, condition, False, "")


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (Condition.MIGRATED, RUNNING, True),
        (Condition.ABSENT, RUNNING, True),
        (Condition.BUSY, RUNNING, None),  # hand-over, or a post-copy that is not done
        (Condition.RUNNING, RUNNING, None),
        (Condition.DARK, RUNNING, None),
        (Condition.LEFTOVER, RUNNING, None),
        (Condition.RUNNING, ABSENT, False),
        (Condition.RUNNING, ARRIVING, False),
        (Condition.RUNNING, SILENT, False),
        (Condition.PAUSED, ABSENT, False),
        (Condition.STUCK, OFF, False),
        (Condition.BUSY, ABSENT, None),
        (Condition.BUSY, ARRIVING, None),
        (Condition.DARK, ABSENT, None),
        (Condition.OFF, ABSENT, False),  # it died on the way
        (Condition.MIGRATED, ARRIVING, None),
        (Condition.MIGRATED, AtTarget("paused", "user"), False),
        (Condition.MIGRATED, SILENT, None),
    ],
)
def test_where_it_runs(source: Condition, target: AtTarget, *, expected: bool | None) -> None:
    assert settle(at_source(source), target) is expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("qemu+ssh://{target}/system", "qemu+ssh://sys2/system?no_tty=1"),
        ("qemu+ssh://{target}/system?keyfile=/k", "qemu+ssh://sys2/system?keyfile=/k&no_tty=1"),
        ("qemu+libssh2://{target}/system", "qemu+libssh2://sys2/system?no_tty=1"),
        ("qemu+ssh://{target}/system?no_tty=0", "qemu+ssh://sys2/system?no_tty=0"),
        ("qemu+tls://{target}.example.com/system", "qemu+tls://sys2.example.com/system"),
        ("qemu://{target}/system", "qemu://sys2/system"),
    ],
)
def test_ssh_never_asks(uri: str, expected: str) -> None:
    assert plan("sys2", Options(libvirt_migrate_uri=uri)).uri == expected


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ({}, "sys2"),
        ({"sys1": "kvm1"}, "sys2"),
        ({"sys2": "kvm2.example.com"}, "kvm2.example.com"),
        ({"sys2": "2001:db8::2"}, "[2001:db8::2]"),
    ],
)
def test_a_systems_host(hosts: dict[str, str], expected: str) -> None:
    made = plan("sys2", Options(hosts=hosts, libvirt_migrate_data_uri="tcp://{target}"))
    assert made.uri == f"qemu+ssh://{expected}/system?no_tty=1"
    assert made.parameters == {"migrate_uri": f"tcp://{expected}"}


@pytest.mark.parametrize(
    "name", ["", "-oProxyCommand=id", "a b", "a/b", "u@h", "a?x=1", "a#", "{}"]
)
def test_what_is_no_host_name(name: str) -> None:
    with pytest.raises(OperationFailed, match="is no host name"):
        plan(name, Options())


def test_bandwidth_and_flags() -> None:
    flags = frozenset({"postcopy", "unsafe"})
    made = plan("b", Options(libvirt_migrate_bandwidth_mib=7, libvirt_migrate_flags=flags))
    assert made.parameters == {"bandwidth": 7}
    assert made.is_postcopy
    # virDomainMigrateFlags: live 1, peer2peer 2, persist_dest 8, unsafe 512, postcopy 32768
    assert made.flags == 1 | 2 | 8 | 512 | 32768
    assert plan("b", Options()).flags == 1 | 2 | 8
