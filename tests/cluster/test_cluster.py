"""Pacemaker drives the executables in bin/ through the short scenarios; the rest is __main__'s."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import report
from tests.cluster.engine import RESOURCE, kvmguest
from tests.cluster.pair import BIN, ROOT, Pair
from tests.cluster.play import play
from tests.cluster.scenarios import SHORT, Scenario
from tests.lab.image import build_image
from tests.lab.namespaces import wait_until_gone
from tests.lab.packages import ensure_packages
from tests.packages import TEST_PACKAGES

pytestmark = pytest.mark.hypervisor


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    ensure_packages(TEST_PACKAGES, Path("/tmp/kvmguest-test-packages.log"))
    with Pair(build_image()) as made:
        yield made


@pytest.mark.parametrize("scenario", SHORT, ids=[scenario.name for scenario in SHORT])
def test_the_engine_keeps_the_guest_running_once(pair: Pair, scenario: Scenario) -> None:
    outcome = play(pair, kvmguest(BIN, pair.config), scenario)
    print(report.timeline(outcome))
    assert outcome.is_right, report.timeline(outcome)


def test_the_observer_sees_a_second_writer(pair: Pair) -> None:
    if pair.complaint():
        pair.form(kvmguest(BIN, pair.config))
    node = pair.guest_node()
    managed = ("crm_resource", "-r", RESOURCE, "--meta", "-p", "is-managed", "-v")
    pair.command(*managed, "false")  # or the engine ends the second one before it writes
    pair.observer.begin()
    pair.nodes[pair.other(node)].virsh("create", str(pair.config))
    end = time.monotonic() + 60
    while not pair.observer.record().has_two_writers:
        assert time.monotonic() < end, pair.observer.record()
        time.sleep(0.2)
    pair.command(*managed, "true")
    pair.command("crm_resource", "-r", RESOURCE, "--refresh")  # look for it on both nodes now
    assert not pair.settle(90)  # both are stopped, one is started
    assert pair.guest_node()


def test_nothing_is_left_of_a_run_that_was_killed() -> None:
    script = """
import time
from tests.cluster.engine import RESOURCE, kvmguest
from tests.cluster.pair import BIN, Pair
from tests.lab.image import build_image
pair = Pair(build_image())
pair.form(kvmguest(BIN, pair.config))
pids = [pid for node in pair.nodes for pid in pair.observer.pids(node)]
pids += [host.inside.pid for host in pair.nodes.values()]
print(*pids, flush=True)
time.sleep(600)
"""
    run = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    assert run.stdout
    with run.stdout as answer:
        pids = [int(word) for word in answer.readline().split()]
    assert len(pids) == 3  # one guest, two nodes
    places = {os.readlink(f"/proc/{pid}/ns/pid") for pid in pids}
    names = {Path(f"/proc/{pid}/comm").read_text("ascii").strip() for pid in members(places)}
    assert {"corosync", "pacemakerd", "libvirtd"} < names
    os.kill(run.pid, signal.SIGKILL)
    run.wait(10)
    for pid in pids:
        wait_until_gone(pid, 10)
    assert not members(places)


def test_where_nodes_cannot_be_made_the_command_says_so_and_fails() -> None:
    command = [sys.executable, "-m", "tests.cluster", "--log", os.devnull]
    without = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    done = subprocess.run([*without, *command], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"namespaces were not made" in done.stderr


def members(places: set[str]) -> list[int]:
    """The processes in these process namespaces."""
    return [int(e.name) for e in Path("/proc").glob("[0-9]*") if place_of(e) in places]


def place_of(entry: Path) -> str:
    try:
        return os.readlink(entry / "ns/pid")
    except OSError:
        return ""  # it ended just now
