from __future__ import annotations

from pathlib import Path

import pytest

from kvmguest import vcs
from kvmguest.states import Condition, State, Verdict
from tests.doubles.vcs_home import VcsHome


def _verdict(state: State, confidence: int = 0) -> Verdict:
    return Verdict(state, confidence, Condition.RUNNING, is_problem=False, sentence="")


@pytest.mark.parametrize("confidence", range(10, 101, 10))
def test_confidence_is_the_last_digits(confidence: int) -> None:
    assert vcs.monitor_exit(_verdict(State.ONLINE, confidence)) == 100 + confidence // 10


@pytest.mark.parametrize(
    ("state", "code"),
    [(State.UNKNOWN, 99), (State.OFFLINE, 100), (State.INTENTIONAL_OFFLINE, 200)],
)
def test_the_states_without_confidence(state: State, code: int) -> None:
    assert vcs.monitor_exit(_verdict(state)) == code


def test_an_entry_point_that_cannot_work_tells_vcs_nothing_false() -> None:
    failed = {verb: entry_point.failed for verb, entry_point in vcs.ENTRY_POINTS.items()}
    assert failed == {
        "open": 0,
        "close": 0,
        "attr_changed": 0,
        "online": 0,
        "offline": 0,
        "monitor": 99,
        "clean": 1,
        "migrate": 255,
        "action": 1,
    }


def test_the_limits_are_those_of_the_type() -> None:
    limits = {verb: entry_point.limit_s for verb, entry_point in vcs.ENTRY_POINTS.items()}
    assert limits["monitor"] == limits["clean"] == limits["open"] == limits["close"] == 60
    assert limits["online"] == limits["offline"] == limits["migrate"] == 300
    assert limits["action"] == 30


TUPLES = ["GuestName", "1", "web"]


@pytest.mark.parametrize("verb", ["monitor", "online", "offline", "open", "close", "migrate"])
def test_the_resource_comes_first(verb: str) -> None:
    assert vcs.split_arguments(verb, ["res", *TUPLES]) == ("res", "", TUPLES)


@pytest.mark.parametrize("reason", list(vcs.CLEAN_REASONS))
def test_clean_has_a_reason(reason: str) -> None:
    assert vcs.split_arguments("clean", ["res", reason, *TUPLES]) == ("res", reason, TUPLES)
    assert vcs.CLEAN_REASONS[reason]


def test_clean_by_hand_may_lack_the_reason() -> None:
    assert vcs.split_arguments("clean", ["res", *TUPLES]) == ("res", "", TUPLES)


def test_attr_changed_has_no_tuples() -> None:
    arguments = ["res", "res", "GuestName", "web"]
    assert vcs.split_arguments("attr_changed", arguments) == ("res", "", ())


@pytest.mark.parametrize("verb", list(vcs.ENTRY_POINTS))
def test_no_arguments_at_all(verb: str) -> None:
    assert vcs.split_arguments(verb, []) == ("", "", []) or verb == "attr_changed"


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (("TargetHost", "node2"), "node2"),
        (("Other", "x", "TargetHost", "node2"), "node2"),
        (("TargetHost=node2",), "node2"),
        (("TargetHost = node2", "x=y"), "node2"),
        (("node2",), "node2"),
        (("TargetHost", "TargetHost"), "TargetHost"),
        (("a", "b"), ""),
        (("TargetHost",), ""),
        ((), ""),
    ],
)
def test_migration_target(values: tuple[str, ...], target: str) -> None:
    assert vcs.migration_target({"VCSInfo": values}) == target


def test_no_vcsinfo_no_target() -> None:
    assert vcs.migration_target({"Other": ("node2",)}) == ""


@pytest.mark.parametrize(
    ("env", "path"),
    [
        ({}, "/opt/VRTSvcs/bin"),
        ({"VCS_HOME": ""}, "/opt/VRTSvcs/bin"),
        ({"VCS_HOME": "/vcs"}, "/vcs/bin"),
    ],
)
def test_where_vcs_lives(env: dict[str, str], path: str) -> None:
    assert vcs.vcs_bin(env) == path


@pytest.mark.parametrize(
    ("answer", "code", "died"),
    [
        ("FAULTED\n", 0, True),
        ("#System Attribute Value\nNodeTwo SysState FAULTED\n", 0, True),
        ("FAULTED\n", 1, False),
        ("", 0, False),
        ("RUNNING\n", 0, False),
        ("EXITED\n", 0, False),
        ("DDNA\n", 0, False),
        ("NodeOne SysState FAULTED\n", 0, False),
        ("NodeTwo SysState FAULTED\nNodeTwo SysState RUNNING\n", 0, False),
        ("VCS ERROR V-16-1-10600 Cannot connect to VCS engine\n", 0, False),
    ],
)
def test_only_faulted_is_dead(tmp_path: Path, answer: str, code: int, *, died: bool) -> None:
    home = VcsHome(tmp_path / "vcs", helper=False, halog=False)
    home.answer("hasys", answer, code)
    env = {"VCS_HOME": str(home.path)}
    assert vcs.has_system_died("NodeTwo", env, 10) is died
    assert home.calls("hasys")[0].argv == ["-state", "NodeTwo"]


def test_without_vcs_nobody_is_dead(tmp_path: Path) -> None:
    assert not vcs.has_system_died("NodeTwo", {"VCS_HOME": str(tmp_path)}, 10)
    assert vcs.systems({"VCS_HOME": str(tmp_path)}, 10) == []


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("res GuestName 1 web AEPTimeout 1 17", 17),
        ("res GuestName 1 web", 60),
        ("res GuestName 1 web AEPTimeout 1", 60),
        ("res GuestName 1 web AEPTimeout 1 soon", 60),
        ("res GuestName 1 web AEPTimeout 1 0", 60),
        ("res GuestName 1 AEPTimeout AEPTimeout 1 30", 30),
        ("", 60),
    ],
)
def test_the_time_limit_is_what_vcs_says_else_the_default(words: str, seconds: int) -> None:
    assert vcs.time_limit("clean", words.split()) == seconds
