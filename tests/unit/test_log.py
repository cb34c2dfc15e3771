"""What reaches VCS, and what happens when VCS does not take it. The loggers are real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import syslog
import time
from pathlib import Path

import pytest

from kvmguest import log
from kvmguest.log import Log
from tests.doubles.vcs_home import FAILS, HANGS, Message, VcsHome

AGENT = "/opt/VRTSvcs/bin/KVMGuest"


class Syslog:
    """Keeps what would go to the machine's syslog: (priority, line)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[tuple[int, str]] = []
        monkeypatch.setattr(syslog, "syslog", lambda level, line: self.lines.append((level, line)))


@pytest.fixture
def to_syslog(monkeypatch: pytest.MonkeyPatch) -> Syslog:
    return Syslog(monkeypatch)


def make(home: VcsHome | Path, **env: str) -> Log:
    path = home.path if isinstance(home, VcsHome) else home
    return Log("res", "monitor", {"VCS_HOME": str(path), **env}, f"{AGENT}/monitor")


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "halog"])
@pytest.mark.parametrize("severity", ["E", "W", "I"])
def test_a_message_is_logged_as_vcs_does(
    tmp_path: Path, to_syslog: Syslog, helper: bool, severity: str
) -> None:
    home = VcsHome(tmp_path / "vcs", helper=helper)
    writer = make(home)
    {"E": writer.error, "W": writer.warning, "I": writer.info}[severity]("web: it is so")
    assert home.messages() == [Message(severity, "KVMGuest", "res", "monitor", "web: it is so")]
    assert to_syslog.lines == []


def test_the_helper_is_preferred(tmp_path: Path) -> None:
    home = VcsHome(tmp_path / "vcs")
    make(home).info("text")
    assert {call.name for call in home.calls()} == {"VCSAG_LOG_MSG"}


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "halog"])
@pytest.mark.parametrize(
    "text",
    ["$(touch /tmp/no) `id` ; rm -rf *", "a 'b' \"c\" \\ $HOME %s", "-sev", "größer", "a:b:c", "*"],
)
def test_nothing_in_a_text_is_expanded(tmp_path: Path, helper: bool, text: str) -> None:
    home = VcsHome(tmp_path / "vcs", helper=helper)
    make(home).info(text)
    assert home.texts() == [text]


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "halog"])
def test_one_message_is_one_line_of_plain_text(tmp_path: Path, helper: bool) -> None:
    home = VcsHome(tmp_path / "vcs", helper=helper)
    make(home).error("a\nb\r\n\tc \x1b[31mred\x00\x07 d\u2028e")
    assert home.texts() == ["a b c [31mred d e"]


def test_bytes_that_are_no_text_are_spelt_out(tmp_path: Path, to_syslog: Syslog) -> None:
    home = VcsHome(tmp_path / "vcs")
    make(home).error("path /\udcff")
    assert home.texts() == ["path /\\udcff"]
    Log("r\udcff", "monitor", {"VCS_HOME": str(tmp_path)}, "x").error("text")
    assert len(to_syslog.lines) == 1


@pytest.mark.parametrize("text", ["x" * 9000, "é" * 9000, "x" + "é" * 9000])
def test_a_long_text_is_cut_to_what_halog_takes(tmp_path: Path, text: str) -> None:
    home = VcsHome(tmp_path / "vcs", helper=False)
    make(home).info(text)
    (logged,) = home.texts()
    assert text.startswith(logged)
    assert log.MAX_BYTES - 2 < len(logged.encode()) <= log.MAX_BYTES


@pytest.mark.parametrize("level", ["", "0", "x", "\u0661", "-1"])
def test_debug_is_off_unless_asked_for(tmp_path: Path, level: str) -> None:
    home = VcsHome(tmp_path / "vcs")
    make(home, KVMGUEST_DEBUG=level).debug(1, "detail")
    assert home.calls() == []


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "halog"])
def test_debug_levels(tmp_path: Path, helper: bool, capsys: pytest.CaptureFixture[str]) -> None:
    home = VcsHome(tmp_path / "vcs", helper=helper)
    writer = make(home, KVMGUEST_DEBUG="2")
    for level in (1, 2, 3):
        writer.debug(level, f"level {level}")
    assert [(m.severity, m.text) for m in home.messages()] == [
        ("DBG_1", "level 1"),
        ("DBG_2", "level 2"),
    ]
    assert capsys.readouterr().err.splitlines() == ["DBG_1: level 1", "DBG_2: level 2"]


def test_without_vcs_it_goes_to_syslog(tmp_path: Path, to_syslog: Syslog) -> None:
    writer = make(tmp_path, KVMGUEST_DEBUG="1")
    writer.error("e")
    writer.warning("w")
    writer.info("i")
    writer.debug(1, "d")
    assert to_syslog.lines == [
        (syslog.LOG_ERR, "res:monitor:e"),
        (syslog.LOG_WARNING, "res:monitor:w"),
        (syslog.LOG_INFO, "res:monitor:i"),
        (syslog.LOG_DEBUG, "res:monitor:d"),
    ]


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "halog"])
def test_a_logger_that_fails_loses_nothing(tmp_path: Path, to_syslog: Syslog, helper: bool) -> None:
    home = VcsHome(tmp_path / "vcs", helper=helper, behaviour=FAILS)
    make(home).error("text")
    assert to_syslog.lines == [(syslog.LOG_ERR, "res:monitor:text")]


def test_a_logger_that_cannot_be_started_loses_nothing(tmp_path: Path, to_syslog: Syslog) -> None:
    home = VcsHome(tmp_path / "vcs", helper=False)
    (home.path / "bin/halog").write_text("not a program")
    (home.path / "bin/halog").chmod(0o644)
    make(home).error("text")
    assert to_syslog.lines == [(syslog.LOG_ERR, "res:monitor:text")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # not waited for
@pytest.mark.parametrize("helper", [True, False], ids=["helper", "halog"])
def test_a_logger_that_hangs_costs_its_limit_once_and_leaves_no_process(
    tmp_path: Path, to_syslog: Syslog, helper: bool
) -> None:
    home = VcsHome(tmp_path / "vcs", helper=helper, behaviour=HANGS)
    writer = make(home)
    start = time.monotonic()
    for number in range(3):
        writer.error(f"text {number}")
    assert log.HELPER_LIMIT_S <= time.monotonic() - start < log.HELPER_LIMIT_S + 1
    assert [line for _level, line in to_syslog.lines] == [f"res:monitor:text {n}" for n in range(3)]
    assert (home.path / "hanging").read_text()
    assert home.hanging_pids() == []


def test_nothing_is_printed_where_there_is_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = VcsHome(tmp_path / "vcs", helper=False)
    home.answer("halog", "halog says something")
    make(home).error("text")
    make(home).show("text")
    assert capfd.readouterr() == ("", "")


def test_a_terminal_sees_every_message(tmp_path: Path) -> None:
    """An administrator who runs an entry point by hand sees what VCS would log."""
    home = VcsHome(tmp_path / "vcs")
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]);"
        "from kvmguest.log import Log; writer = Log('res', 'monitor', os.environ, 'x/monitor');"
        "writer.warning('seen'); writer.show('shown')"
    )
    ours, theirs = os.openpty()
    root = str(Path(log.__file__).parent.parent)
    env = {"VCS_HOME": str(home.path)}
    subprocess.run([sys.executable, "-I", "-c", code, root], check=True, stderr=theirs, env=env)
    os.close(theirs)
    printed = os.read(ours, 1000).decode()
    os.close(ours)
    assert printed.splitlines() == ["WARNING: seen", "shown"]
    assert home.texts() == ["seen"]


def test_no_standard_error_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = VcsHome(tmp_path / "vcs")
    monkeypatch.setattr(sys, "stderr", None)
    make(home).error("text")
    assert home.texts() == ["text"]
