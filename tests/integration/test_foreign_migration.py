"""Somebody migrates the guest with virsh: what monitor says on both hosts, every 20 ms."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.doubles.observer import Observer
from tests.doubles.pair import BIN, GUEST, Pair
from tests.doubles.timeline import Timeline, online_twice, seconds_of

if TYPE_CHECKING:
    from typing_extensions import Self

pytestmark = pytest.mark.hypervisor

LATE_S = 0.3
"""A look tells what was the case; the other host's look that confirms it may be that much later."""

RUNS = "110 running (booted)"
ARRIVES = ["100 not defined", "?99 paused (starting up)", "200 paused (migrating)"]
ARRIVED = [*ARRIVES, "110 running (migrated)"]
LEAVES = [RUNS, "?200 paused (migrating)"]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pair]:
    with Pair() as made:
        yield made


@pytest.fixture
def pair(hosts: Pair) -> Iterator[Pair]:
    yield hosts
    hosts.clear()


class Watched:
    """Everything that is seen while the guest migrates from kvm1 to kvm2, and what must hold."""

    def __init__(self, pair: Pair) -> None:
        self._stack = ExitStack()
        self.source = self._stack.enter_context(Timeline(pair.kvm1, pair.conf))
        self.target = self._stack.enter_context(Timeline(pair.kvm2, pair.conf))
        hosts = {"kvm1": pair.kvm1, "kvm2": pair.kvm2}
        self.observer = self._stack.enter_context(Observer(hosts, GUEST, pair.disk))
        time.sleep(0.3)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.3)
        self._stack.close()
        print(f"source\n{seconds_of(self.source.looks)}")
        print(f"target\n{seconds_of(self.target.looks)}")

    def assert_told(self, source: Sequence[str], target: Sequence[str]) -> None:
        """The timelines are these ("?" marks what is too short to be seen always), and no lie."""
        assert not differs(self.source.story, source)
        assert not differs(self.target.story, target)
        assert not online_twice(self.source, self.target)
        assert not self.observer.complaints()
        assert not self._offline_where_it_runs()

    def _offline_where_it_runs(self) -> list[str]:
        online = [look for look in self.target.looks if look.is_online]
        arrived = online[0].start if online else float("inf")
        left = [look for look in self.source.looks if look.code == 100]
        there = [look for look in self.target.looks if look.code == 100]
        lies = [look.sentence for look in left if look.end < arrived - LATE_S]
        return lies + [look.sentence for look in there if look.start > arrived]


def differs(story: Sequence[str], expected: Sequence[str]) -> str:
    """What is wrong with the story, if anything; words that begin with "?" may be missing."""
    at = 0
    for words in expected:
        seen = story[at] if at < len(story) else "the end"
        if seen.startswith(words.lstrip("?")):
            at += 1
        elif not words.startswith("?"):
            return f"{words!r} is expected, not {seen!r}, in {story}"
    return "" if at == len(story) else f"nothing more is expected in {story[at:]}"


def slow(pair: Pair, mib_per_s: int) -> None:
    pair.kvm1.virsh("migrate-setspeed", GUEST, str(mib_per_s))


def migrate(pair: Pair, *flags: str) -> subprocess.Popen[str]:
    """Begin what an administrator would type on kvm1."""
    argv = ["virsh", "migrate", "--live", "--unsafe", *flags, GUEST, pair.kvm2.peer_uri]
    return pair.kvm1.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ends(migration: subprocess.Popen[str]) -> str:
    """Virsh's complaint, "" if it had none."""
    complaint: str = migration.communicate(timeout=60)[1].strip()
    return complaint


@pytest.mark.parametrize(
    ("flags", "left_behind"),
    [
        (("--p2p", "--persistent"), "200 shut off (migrated)"),
        ((), "200 shut off (migrated)"),
        (("--persistent", "--undefinesource"), "100 not defined"),
    ],
)
def test_migrated_by_hand(pair: Pair, flags: tuple[str, ...], left_behind: str) -> None:
    pair.start(pair.kvm1)
    slow(pair, 24)
    with Watched(pair) as watched:
        migration = migrate(pair, *flags)
        pair.wait_for(pair.kvm2, "paused (migrating)")
        assert pair.codes() == (110, 200)
        assert not ends(migration)
        assert pair.codes() == (int(left_behind[:3]), 110)
    watched.assert_told([*LEAVES, left_behind], ARRIVED)
    assert watched.observer.places() == ["kvm1", "kvm2"]


def test_the_mark_of_the_administrator_explains_what_is_not_defined(pair: Pair) -> None:
    pair.start_bare(pair.kvm1)
    assert not ends(migrate(pair, "--persistent", "--undefinesource"))
    assert pair.codes() == (100, 110)
    action = pair.kvm1.run([str(BIN / "actions/guestmigrated"), "res", "GuestName", "1", GUEST])
    assert action.returncode == 0, action.stdout
    assert pair.codes() == (200, 110)


def test_post_copy(pair: Pair) -> None:
    """From the switch on it runs on the target, though half of its memory is still here."""
    pair.start(pair.kvm1, load_mib=40)
    slow(pair, 8)
    pair.kvm1.virsh("migrate-setspeed", "--postcopy", GUEST, "8")
    with Watched(pair) as watched:
        migration = migrate(pair, "--p2p", "--persistent", "--postcopy")
        pair.wait_for(pair.kvm2, "paused (migrating)")
        time.sleep(1)
        pair.kvm1.virsh("migrate-postcopy", GUEST)
        pair.wait_for(pair.kvm2, "running (post-copy)")
        assert pair.codes() == (200, 110)
        assert not ends(migration)
    watched.assert_told(
        [RUNS, "?200 paused (migrating)", "200 paused (post-copy)", "200 shut off (migrated)"],
        [*ARRIVES, "110 running (post-copy)", "?110 running (migrated)"],
    )
    assert watched.observer.places() == ["kvm1", "kvm2"]


def test_the_sources_libvirtd_dies_in_a_post_copy(pair: Pair) -> None:
    """QEMU's process is still at the source, and yet the guest runs on the target only."""
    pair.start(pair.kvm1, load_mib=40)
    slow(pair, 8)
    pair.kvm1.virsh("migrate-setspeed", "--postcopy", GUEST, "1")
    with Watched(pair) as watched:
        migration = migrate(pair, "--p2p", "--persistent", "--postcopy")
        pair.wait_for(pair.kvm2, "paused (migrating)")
        time.sleep(1)
        pair.kvm1.virsh("migrate-postcopy", GUEST)
        pair.wait_for(pair.kvm2, "running (post-copy)")
        pair.kvm1.kill_libvirtd()
        assert pair.codes() == (99, 110)
        assert ends(migration)
        pair.kvm1.start_libvirtd()
        assert pair.codes() == (200, 110)
    watched.assert_told(
        [
            RUNS,
            "?200 paused (migrating)",
            "200 paused (post-copy)",
            "99 no connection (its QEMU process is in a live migration)",
            "?99",
            "200 paused (post-copy)",
        ],
        [*ARRIVES, "110 running (post-copy)"],
    )


def test_aborted(pair: Pair) -> None:
    pair.start(pair.kvm1, load_mib=40)
    slow(pair, 2)
    with Watched(pair) as watched:
        migration = migrate(pair, "--p2p", "--persistent")
        pair.wait_for(pair.kvm2, "paused (migrating)")
        time.sleep(1)
        pair.kvm1.virsh("domjobabort", GUEST)
        assert ends(migration)  # "canceled by client", or whatever broke first
        assert pair.codes() == (110, 100)
    watched.assert_told([RUNS], [*ARRIVES, "?99", "100 not defined"])
    assert watched.observer.places() == ["kvm1"]


def _source_libvirtd(pair: Pair) -> Callable[[], None]:
    pair.kvm1.kill_libvirtd()
    return pair.kvm1.start_libvirtd


def _target_libvirtd(pair: Pair) -> Callable[[], None]:
    pair.kvm2.kill_libvirtd()
    return pair.kvm2.start_libvirtd


def _target_qemu(pair: Pair) -> Callable[[], None]:
    pair.kvm2.kill_qemu(GUEST)
    return lambda: None


NO_LIBVIRTD = "99 no connection"  # QEMU ends by itself when the source gives up
AWAY = "99 no connection (its QEMU process is in a live migration)"


@pytest.mark.parametrize(
    ("kill", "source", "target"),
    [
        (_source_libvirtd, [RUNS, AWAY, "?99", RUNS], [*ARRIVES, "?99", "100 not defined"]),
        (
            _target_libvirtd,
            [RUNS],
            [*ARRIVES, NO_LIBVIRTD, "?99", "?200", "?99", "100 not defined"],
        ),
        (_target_qemu, [RUNS], [*ARRIVES, "?99", "100 not defined"]),
    ],
)
def test_killed_midway(
    pair: Pair,
    kill: Callable[[Pair], Callable[[], None]],
    source: Sequence[str],
    target: Sequence[str],
) -> None:
    """The guest goes on at the source, and neither host says anything else."""
    pair.start(pair.kvm1, load_mib=40)
    slow(pair, 2)
    with Watched(pair) as watched:
        migration = migrate(pair, "--p2p", "--persistent")
        pair.wait_for(pair.kvm2, "paused (migrating)")
        time.sleep(0.5)
        mend = kill(pair)
        assert ends(migration)
        time.sleep(1.5)
        mend()
        pair.wait_for(pair.kvm2, "not defined")
        assert pair.codes() == (110, 100)
    watched.assert_told(source, target)
    assert watched.observer.places() == ["kvm1"]
    assert pair.next_beat().foreign == 0


def test_libvirtd_dies_on_the_host_a_guest_came_to(pair: Pair) -> None:
    """QEMU keeps -incoming for life; libvirt's record tells that the migration is over."""
    pair.start_bare(pair.kvm1)
    assert not ends(migrate(pair, "--p2p", "--persistent"))
    pair.kvm2.kill_libvirtd()
    assert pair.codes() == (200, 105)
    pair.kvm2.start_libvirtd()
    assert pair.codes() == (200, 110)
