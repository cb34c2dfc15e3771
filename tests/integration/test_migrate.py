"""bin/migrate between two real hosts: where the guest is afterwards, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.doubles.pair import BIN, GUEST, UUID, Pair
from tests.doubles.vcs_home import VcsHome
from tests.lab.guest import READY, bare, wait_for_console

pytestmark = pytest.mark.hypervisor

AWAY = ("migrate", "--live", "--persistent", "--unsafe")
"""What an administrator would type."""
SLOW = "migrate_bandwidth_mib = 2\n"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pair]:
    with Pair() as made:
        yield made


@pytest.fixture
def pair(hosts: Pair) -> Iterator[Pair]:
    yield hosts
    hosts.clear()


def test_a_guest_moves_and_comes_back(pair: Pair) -> None:
    pair.start(pair.kvm1)
    before = pair.next_beat()
    for source, target, name in (
        (pair.kvm1, pair.kvm2, "sys2"),  # through [hosts]
        (pair.kvm2, pair.kvm1, "kvm1"),
    ):
        done = pair.migrate(source, name)
        assert done.code == 0, done.log
        assert f"migrated to {name}" in done.log
        assert pair.state(source) == "shut off (migrated)"
        assert pair.state(target) == "running (migrated)"
        assert "Persistent:     yes" in target.virsh("dominfo", GUEST)
        codes = {source: 200, target: 110}
        assert pair.codes() == (codes[pair.kvm1], codes[pair.kvm2])
    after = pair.next_beat()
    assert before.boot == after.boot
    assert before.beats < after.beats
    assert after.foreign == 0


def _restart_libvirtd(pair: Pair) -> None:
    pair.kvm1.kill_libvirtd()
    pair.kvm1.start_libvirtd()


@pytest.mark.parametrize(
    ("flags", "then", "left"),
    [
        ((), lambda _pair: None, 200),
        ((), _restart_libvirtd, 100),  # shut off (unknown): libvirt forgets the reason
        (("--undefinesource",), lambda _pair: None, 100),
    ],
    ids=["at once", "after libvirtd restarted", "when it is not even defined"],
)
def test_online_does_not_start_what_runs_where_it_migrated_to(
    pair: Pair, flags: tuple[str, ...], then: Callable[[Pair], None], left: int
) -> None:
    """Until the cluster notices a migration by hand, it may ask the old node to start it."""
    pair.start(pair.kvm1)
    document = pair.lab.shared / "web.xml"
    document.write_text(pair.document(), encoding="utf-8")
    pair.kvm1.virsh(*AWAY, *flags, GUEST, pair.kvm2.peer_uri)
    then(pair)
    done = pair.run(pair.kvm1, "online", "GuestConfigFilePath", "1", str(document))
    assert done.code == 0
    assert "start refused, it runs elsewhere" in done.log
    assert "sys2 says running (migrated)" in done.log
    assert pair.codes() == (left, 110)


def test_online_asks_where_an_administrator_noted_it_to_be(pair: Pair) -> None:
    """Nothing else tells: it was stopped and undefined here, and started there, by hand."""
    document = pair.lab.shared / "web.xml"
    document.write_text(pair.document(), encoding="utf-8")
    pair.start(pair.kvm2)
    action = [str(BIN / "actions/guestmigrated"), "res", "GuestName", "1", GUEST]
    assert pair.kvm1.run([*action, "ACTION_ARGS", "1", "sys2"]).returncode == 0
    done = pair.run(pair.kvm1, "online", "GuestConfigFilePath", "1", str(document))
    assert "sys2 says running (booted)" in done.log
    assert pair.codes() == (200, 110)


@pytest.mark.parametrize("does_vcs_know", [False, True])
def test_online_starts_what_migrated_to_a_node_that_is_dead(
    pair: Pair, tmp_path: Path, does_vcs_know: bool
) -> None:
    """Who is dead is not asked: that costs 10 s of a failover."""
    home = VcsHome(tmp_path / "vcs")
    home.answer("hasys", "FAULTED\n" if does_vcs_know else "RUNNING\n")
    pair.vcs_home = str(home.path)
    pair.start(pair.kvm1)
    pair.kvm1.virsh(*AWAY, GUEST, pair.kvm2.peer_uri)
    pair.kvm2.power_off()
    done = pair.run(pair.kvm1, "online", aep_s=120)
    assert ("whether it runs on sys2 cannot be seen" in done.log) is not does_vcs_know
    assert pair.state(pair.kvm1) == "running (booted)"


def test_a_data_network_and_progress(pair: Pair) -> None:
    """The data goes where migrate_data_uri says: nobody but us listens on that port."""
    pair.set_options(
        "migrate_bandwidth_mib = 8\nmigrate_data_uri = tcp://{target}:49999\n",
        flags=", auto_converge, compressed",
    )
    pair.start(pair.kvm1)
    move = pair.begin_migrate(pair.kvm1, "sys2", 60)
    pair.wait_for(pair.kvm2, "paused (migrating)")
    ports = pair.kvm2.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout
    done = move.result()
    assert f":{49999:04X} " in ports
    assert done.code == 0, done.log
    assert "MiB left, pass" in done.log
    assert pair.codes() == (200, 110)


def test_post_copy_moves_a_guest_that_dirties_its_memory_too_fast(pair: Pair) -> None:
    pair.set_options("migrate_bandwidth_mib = 24\n", flags="postcopy")
    pair.start(pair.kvm1, load_mib=32)
    done = pair.migrate(pair.kvm1, "sys2")
    assert done.code == 0, done.log
    assert pair.state(pair.kvm1) == "shut off (migrated)"
    assert pair.codes() == (200, 110)


def test_a_post_copy_under_way_is_not_aborted(pair: Pair) -> None:
    """That would lose the guest: half of its memory is on either side."""
    pair.set_options("migrate_bandwidth_mib = 4\n", flags="postcopy")
    pair.start(pair.kvm1, load_mib=20)
    pair.kvm1.virsh("migrate-setspeed", "--postcopy", GUEST, "3")
    move = pair.begin_migrate(pair.kvm1, "sys2", 16)
    pair.wait_for(pair.kvm2, "paused (migrating)")
    pair.kvm1.virsh("migrate-postcopy", GUEST)  # the administrator is quicker than the first pass
    pair.wait_for(pair.kvm2, "running (post-copy)")
    done = move.result()
    assert done.code == 255
    assert "is aborted after" in done.log
    assert "whether it was migrated to sys2 cannot be told" in done.log
    assert pair.codes() == (200, 110)
    assert pair.next_beat(60).foreign == 0  # it was starved, not lost


def _stop(pair: Pair) -> None:
    pair.kvm1.virsh("destroy", GUEST)


def _freeze_qemu(pair: Pair) -> None:
    pair.kvm1.freeze_qemu(GUEST)


def _start_on_target(pair: Pair) -> None:
    pair.start_bare(pair.kvm2)


def _another_on_target(pair: Pair) -> None:
    pair.kvm2.define(bare(GUEST, uuid=UUID[:-1] + "f"))


def _target_off(pair: Pair) -> None:
    pair.kvm2.power_off()


def _nothing(_pair: Pair) -> None:
    pass


FOR_DR = ("DROpts", "4", "ConfigureNetwork", "1", "IPAddress", "192.0.2.1")


@pytest.mark.parametrize(
    ("prepare", "target", "extra", "reason"),
    [
        (_nothing, "sys1", (), "is this host"),
        (_nothing, "no-such-host", (), "Unable to resolve address"),
        (_nothing, "-oProxyCommand=id", (), "is no host name"),
        (_nothing, "sys2", FOR_DR, "may not move to another site"),
        (_nothing, "sys2", ("DROpts", "2", "ConfigureNetwork", "yes"), "may not move to another"),
        (_target_off, "sys2", (), "connect web: "),  # "no answer" or "No route to host"
        (_stop, "sys2", (), "Only a running guest can move"),
        (_freeze_qemu, "sys2", (), "its QEMU does not answer"),
        (_start_on_target, "sys2", (), "kvm2 has a guest of this name: running"),
        (_another_on_target, "sys2", (), "its UUID differs"),
    ],
)
def test_refused_beforehand(
    pair: Pair,
    prepare: Callable[[Pair], None],
    target: str,
    extra: tuple[str, ...],
    reason: str,
) -> None:
    pair.start_bare(pair.kvm1)
    prepare(pair)
    before = pair.state(pair.kvm1)
    done = pair.migrate(pair.kvm1, target, *extra, aep_s=10)
    assert done.code == 255
    assert reason.lower() in done.log.lower()
    assert "begins" not in done.log
    assert pair.state(pair.kvm1) == before


def test_memory_that_was_saved_on_the_target_is_given_up(pair: Pair) -> None:
    """Left there, it would be restored at the next start, over a disk that went on."""
    pair.start_bare(pair.kvm2)
    pair.kvm2.virsh("managedsave", GUEST)
    pair.start_bare(pair.kvm1)
    done = pair.migrate(pair.kvm1, "sys2")
    assert done.code == 0, done.log
    assert "kvm2 had saved memory of it, but it runs here: that memory is given up" in done.log
    pair.kvm2.virsh("destroy", GUEST)
    pair.kvm2.virsh("start", GUEST)
    assert pair.state(pair.kvm2) == "running (booted)"


def test_no_target_is_refused(pair: Pair) -> None:
    done = pair.run(pair.kvm1, "migrate", "VCSInfo", "0")
    assert done.code == 255
    assert "names no TargetHost (extra tuples: VCSInfo)" in done.log


def test_a_guest_for_disaster_recovery_moves_inside_its_site(pair: Pair) -> None:
    """The target has not the CD's image, and the guest, which has read it, needs it no more."""
    pair.set_options("", rest="[vcs]\nsame_site = sys1 sys2\n")
    pair.prepare(pair.kvm1, words=("cd",))
    dr = ("DROpts", "6", "ConfigureNetwork", "1", "IPAddress", "192.0.2.1", "Netmask", "24")
    assert pair.run(pair.kvm1, "online", *dr).code == 5
    assert "IPAddress=192.0.2.1" in wait_for_console(pair.console, READY)
    done = pair.migrate(pair.kvm1, "sys2", *dr)
    assert done.code == 0, done.log
    cd = "/var/lib/kvmguest/dr.d/web.iso"
    drives = dict(
        line.split() for line in pair.kvm2.virsh("domblklist", GUEST).splitlines() if line
    )
    assert drives == {"vda": str(pair.disk), "hdd": "-"}

    assert pair.run(pair.kvm2, "offline", *dr).code == 0
    assert pair.state(pair.kvm2) == "shut off (shutdown)"
    start = pair.console.stat().st_size
    done = pair.run(pair.kvm2, "online", *dr)
    assert f"on CD {cd}, replaced" in done.log
    assert "IPAddress=192.0.2.1" in wait_for_console(pair.console, READY, start=start)


def test_too_slow_is_aborted_in_time(pair: Pair) -> None:
    pair.set_options(SLOW)
    pair.start(pair.kvm1, load_mib=48)
    done = pair.migrate(pair.kvm1, "sys2", aep_s=14)
    assert done.code == 255
    assert done.seconds < 9
    assert "aborted after" in done.log
    assert "not migrated to sys2" in done.log
    assert pair.state(pair.kvm1) == "running (booted)"
    assert pair.codes() == (110, 100)


def _kill_target_qemu(pair: Pair) -> None:
    pair.kvm2.kill_qemu(GUEST)


def _kill_target_libvirtd(pair: Pair) -> None:
    pair.kvm2.kill_libvirtd()


def _freeze_target_libvirtd(pair: Pair) -> None:
    pair.kvm2.freeze_libvirtd()


def _freeze_target_qemu(pair: Pair) -> None:
    pair.kvm2.freeze_qemu(GUEST)


def _kill_source_libvirtd(pair: Pair) -> None:
    pair.kvm1.kill_libvirtd()


def _freeze_source_libvirtd(pair: Pair) -> None:
    pair.kvm1.freeze_libvirtd()


def _lose_target(pair: Pair) -> None:
    pair.kvm2.power_off()


NOT_MIGRATED = "not migrated to sys2"
NOT_KNOWN = "whether it was migrated to sys2 cannot be told"


@pytest.mark.parametrize(
    ("fault", "said", "at_once"),
    [
        (_kill_target_qemu, NOT_MIGRATED, True),
        (_kill_target_libvirtd, NOT_MIGRATED, True),
        (_lose_target, NOT_MIGRATED, True),
        (_freeze_target_libvirtd, NOT_MIGRATED, False),
        (_freeze_target_qemu, NOT_MIGRATED, False),
        (_kill_source_libvirtd, NOT_KNOWN, True),
        (_freeze_source_libvirtd, NOT_KNOWN, False),
    ],
)
def test_a_fault_midway(
    pair: Pair, fault: Callable[[Pair], None], said: str, *, at_once: bool
) -> None:
    """It ends in time, is never called a success, and the guest goes on where it was."""
    pair.set_options(SLOW)
    pair.start(pair.kvm1, load_mib=48)
    move = pair.begin_migrate(pair.kvm1, "sys2", 14)
    pair.wait_for(pair.kvm2, "paused (migrating)")
    fault(pair)
    done = move.result()
    _mend(pair, fault)
    assert done.code == 255
    assert said in done.log
    assert done.seconds < (8 if at_once else 12)
    pair.wait_for(pair.kvm1, "running (booted)")
    assert pair.next_beat().foreign == 0


def _mend(pair: Pair, fault: Callable[[Pair], None]) -> None:
    mend: dict[Callable[[Pair], None], Callable[[], None]] = {
        _kill_target_libvirtd: pair.kvm2.start_libvirtd,
        _freeze_target_libvirtd: pair.kvm2.thaw_libvirtd,
        _kill_source_libvirtd: pair.kvm1.start_libvirtd,
        _freeze_source_libvirtd: pair.kvm1.thaw_libvirtd,
        _freeze_target_qemu: lambda: pair.kvm2.kill_qemu(GUEST),
    }
    if fault in mend:
        mend[fault]()
