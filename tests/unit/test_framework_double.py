"""The double of VCS's agent framework does what VCS's guide says, with shell scripts as agent."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.doubles.engine import Engine, told
from tests.doubles.framework import Limits
from tests.lab.namespaces import LabError

QUICK = Limits(
    monitor_interval=0.05,
    offline_monitor_interval=0.05,
    monitor_timeout=1,
    online_timeout=1,
    offline_timeout=1,
    clean_timeout=1,
    migrate_timeout=1,
)
# The guest of a node is a file; VERB.fails makes an entry point do nothing, VERB.hangs sleep.
SCRIPT = """#!/bin/sh
cd {here}/$NODE
verb=${{0##*/}}
echo "$NODE $verb $*" >>../calls
[ -e $verb.hangs ] && exec sleep 30
[ -e $verb.fails ] && exit {fails}
{act}
"""
ACTS = {
    "open": ("true", 0),
    "monitor": ("[ -e code ] && exit $(cat code); [ -e up ] && exit 110; exit 100", 99),
    "online": ("touch up; exit 0", 0),
    "offline": ("rm -f up; exit 0", 0),
    "clean": ("rm -f up; exit 0", 1),
    # web_res GuestName 1 web VCSInfo 2 TargetHost b
    "migrate": ("rm up; touch ../$8/up; exit 0", 255),
}


class Machine:
    """Stands for a host: commands run right here, until it is lost."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_lost = False

    @property
    def inside(self) -> str:
        if self.is_lost:
            raise LabError(f"{self.name} is off")
        return self.name

    def popen(
        self, argv: Sequence[str], env: Mapping[str, str], **options: int
    ) -> subprocess.Popen[str]:
        assert self.inside
        words = {**env, "NODE": self.name, "PATH": "/usr/bin:/bin"}
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            argv, env=words, text=True, start_new_session=True, **options
        )


class Site:
    """Two nodes, a and b, whose agent is a directory of shell scripts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.machines = {name: Machine(name) for name in ("a", "b")}
        for name in self.machines:
            (directory / name).mkdir()
        for verb, (act, fails) in ACTS.items():
            script = directory / verb
            script.write_text(SCRIPT.format(here=directory, act=act, fails=fails))
            script.chmod(0o755)

    def engine(self, limits: Limits = QUICK) -> Engine:
        return Engine(
            self.machines,  # type: ignore[arg-type] # of a host only popen and inside are used
            {"GuestName": "web"},
            limits,
            {},
            self.directory,
        )

    def put(self, name: str, text: str = "") -> None:
        beside = self.directory / "new"
        beside.write_text(text)
        beside.rename(self.directory / name)

    def drop(self, name: str) -> None:
        (self.directory / name).unlink()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def follows(engine: Engine, *texts: str) -> None:
    at = 0
    for text in texts:
        at = engine.wait_for(text, at, 15) + 1


def test_up_and_down(site: Site) -> None:
    with site.engine() as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a online exits 0", "a monitor exits 110", "a is ONLINE")
        engine.hagrp("-offline", "a")
        follows(engine, "a offline exits 0", "a monitor exits 100", "a is OFFLINE")
    assert "clean" not in told(engine.events)
    calls = (site.directory / "calls").read_text()
    assert "a open web_res GuestName 1 web AEPTimeout 1 60\n" in calls
    assert "a monitor web_res GuestName 1 web AEPTimeout 1 1\n" in calls


def test_an_unexpected_offline_is_cleaned_and_fails_over(site: Site) -> None:
    with site.engine() as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        site.drop("a/up")
        follows(engine, "a clean for reason 4 exits 0", "a is FAULTED", "b takes over")
        follows(engine, "b is ONLINE")


def test_tolerance_and_restart(site: Site) -> None:
    with site.engine(QUICK._replace(tolerance_limit=2, restart_limit=1)) as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        site.drop("a/up")
        follows(engine, "a clean for reason 4", "a online exits", "a monitor exits 110")
        site.drop("a/up")
        follows(engine, "a clean for reason 4", "a clean for reason 4", "b takes over")
    calls = (site.directory / "calls").read_text().split("a clean")[1]
    assert calls.count("a monitor") >= 1 + 3  # one after the restart, then two are tolerated


def test_no_failover_before_a_clean_that_succeeds(site: Site) -> None:
    site.put("a/clean.fails")
    with site.engine() as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        site.drop("a/up")
        follows(engine, "a clean for reason 4 exits 1", "a clean for reason 4 exits 1")
        assert "takes over" not in told(engine.events)
        site.drop("a/clean.fails")
        follows(engine, "a clean for reason 4 exits 0", "b takes over")


@pytest.mark.parametrize(("intentional", "expected"), [(1, "a is OFFLINE"), (0, "a is FAULTED")])
def test_intentional_offline(site: Site, intentional: int, expected: str) -> None:
    with site.engine(QUICK._replace(intentional_offline=intentional)) as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        site.put("a/code", "200")
        follows(engine, expected)
    assert ("clean" in told(engine.events)) is (intentional == 0)


def test_unknown_changes_nothing(site: Site) -> None:
    with site.engine() as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        site.put("a/code", "99")
        follows(engine, "a monitor exits 99")
        time.sleep(0.3)
        site.put("a/code", "1")
        follows(engine, "a monitor exits 1")
        time.sleep(0.3)
    assert engine.events[-1].text == "a monitor exits 1"


def test_monitors_that_time_out_are_a_fault(site: Site) -> None:
    with site.engine(QUICK._replace(fault_on_monitor_timeouts=2)) as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        site.put("a/monitor.hangs")
        killed = "a monitor is killed after 1 s"
        follows(engine, killed, killed, "a clean for reason 5 exits 0", "a is FAULTED")


@pytest.mark.parametrize(
    ("fault", "order", "reason"),
    [
        ("online.hangs", "-online", 2),
        ("online.fails", "-online", 3),
        ("offline.hangs", "-offline", 0),
        ("offline.fails", "-offline", 1),
    ],
)
def test_reasons_of_clean(site: Site, fault: str, order: str, reason: int) -> None:
    site.put(f"a/{fault}")
    with site.engine() as engine:
        if order == "-offline":
            engine.hagrp("-online", "a")
            follows(engine, "a is ONLINE")
        engine.hagrp(order, "a")
        follows(engine, f"a clean for reason {reason} exits 0")
        follows(engine, "a is OFFLINE" if order == "-offline" else "b takes over")
    calls = (site.directory / "calls").read_text()
    waited = calls.split("a online")[1].split("a clean")[0].count("a monitor")
    assert fault != "online.fails" or waited == 1 + QUICK.online_wait_limit


def test_migrate(site: Site) -> None:
    with site.engine(QUICK._replace(offline_monitor_interval=60)) as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        site.put("a/migrate.fails")
        engine.hagrp("-migrate", "b")
        follows(engine, "a migrate exits 255")
        site.drop("a/migrate.fails")
        engine.hagrp("-migrate", "b")
        follows(engine, "a migrate exits 0", "a is OFFLINE", "b monitor exits 110", "b is ONLINE")
    assert "clean" not in told(engine.events)
    assert "CONCURRENCY" not in told(engine.events)


def test_switch(site: Site) -> None:
    with site.engine() as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        engine.hagrp("-switch", "b")
        follows(engine, "a is OFFLINE", "b online exits 0", "b is ONLINE")
    assert "clean" not in told(engine.events)


def test_a_lost_system(site: Site) -> None:
    with site.engine() as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        site.machines["a"].is_lost = True
        engine.lose("a")
        follows(engine, "b takes over", "b is ONLINE")


def test_online_on_both_is_told(site: Site) -> None:
    with site.engine() as engine:
        engine.hagrp("-online", "a")
        follows(engine, "a is ONLINE")
        site.put("b/up")
        follows(engine, "CONCURRENCY VIOLATION: online on a and b")
