"""A disk that does not come back: a frozen file system, writes to which no signal can interrupt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.agent import Agent
from tests.lab.guest import bare
from tests.lab.host import Host

pytestmark = pytest.mark.hypervisor

GUEST = "web"
LIMIT_S = 20


@pytest.fixture
def frozen(host: Host, agent: Agent) -> Iterator[Path]:
    """A directory on a disk that hangs, on the agent's host."""
    assert agent.host is host
    image, place = host.directory / "disk.img", host.directory / "frozen"
    image.write_bytes(b"")
    place.mkdir(exist_ok=True)
    for words in (
        ["truncate", "--size=16M", str(image)],
        ["mkfs.ext4", "-q", str(image)],
        ["mount", "-o", "loop", str(image), str(place)],
        ["fsfreeze", "--freeze", str(place)],
    ):
        done = host.run(words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
    yield place
    thaw(host, place)
    end = time.monotonic() + 20
    while host.run(["umount", str(place)]).returncode != 0:  # busy while an orphan still writes
        assert time.monotonic() < end
        time.sleep(0.2)
    image.unlink()


def thaw(host: Host, place: Path) -> None:
    host.run(["fsfreeze", "--unfreeze", str(place)])


@pytest.mark.parametrize(
    ("verb", "state"), [("clean", "shut off (destroyed)"), ("offline", "running (booted)")]
)
def test_vcs_has_its_answer_though_the_disk_hangs(
    agent: Agent, host: Host, frozen: Path, verb: str, state: str
) -> None:
    """The verdict was known before the configuration was to be written."""
    host.define(bare(GUEST))
    host.virsh("start", GUEST)
    begun = agent.begin(
        verb, GUEST, SyncDir=str(frozen), AEPTimeout=str(LIMIT_S), DelayAfterGuestOffline="1"
    )
    try:
        begun.process.wait(LIMIT_S)
    finally:
        thaw(host, frozen)
    assert time.monotonic() - begun.start < LIMIT_S
    ended = agent.finish(begun)
    assert ended.code == 0
    assert "saving its configuration to SyncDir failed" in ended.log
    assert host.virsh("domstate", "--reason", GUEST) == state
