"""A node pair under VCS's rules: see tests/scenarios."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.observer import Observer
from tests.doubles.pair import GUEST, Pair
from tests.doubles.scenario import DIRECTORY, Stage, read

pytestmark = pytest.mark.hypervisor


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pair]:
    with Pair() as made:
        yield made


@pytest.fixture
def pair(hosts: Pair) -> Iterator[Pair]:
    yield hosts
    hosts.clear()


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.txt")), ids=lambda path: path.stem)
def test_scenario(pair: Pair, path: Path) -> None:
    Stage(pair, read(path)).play()


def test_the_observer_notices_what_must_never_be(pair: Pair) -> None:
    pair.start(pair.kvm1)
    with Observer({"sys1": pair.kvm1, "sys2": pair.kvm2}, GUEST, pair.disk) as observer:
        pair.kvm2.define(pair.document())
        pair.kvm2.virsh("start", GUEST)
        time.sleep(4)
    ran_twice = [text for text in observer.complaints() if "it ran on sys1 and sys2" in text]
    assert len(ran_twice) > 5


def test_the_observer_tells_a_paused_guest_from_one_that_runs(pair: Pair) -> None:
    pair.start(pair.kvm1)
    with Observer({"sys1": pair.kvm1}, GUEST, pair.disk) as observer:
        pair.kvm1.virsh("suspend", GUEST)
        paused = len(observer.windows)
        time.sleep(1)
        resumed = len(observer.windows)
        pair.kvm1.virsh("resume", GUEST)
        time.sleep(1)
    ran = [bool(window.ran_on) for window in observer.windows]
    assert not any(ran[paused + 2 : resumed - 1])
    assert sum(ran[resumed + 2 :]) >= len(ran[resumed + 2 :]) / 2
