"""Exit codes out of a child, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest

from kvmguest import child
from kvmguest.deadline import poll

FAILED = 99
ROOT = Path(__file__).resolve().parents[2]


def fails() -> int:
    raise KeyError("a fault of its own")


def dies() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def hangs() -> int:
    time.sleep(20)
    return 0


@pytest.mark.parametrize(
    ("work", "code"), [(lambda: 0, 0), (lambda: 110, 110), (fails, FAILED), (dies, FAILED)]
)
def test_the_code_is_the_childs_and_failed_when_it_has_none(
    work: Callable[[], int], code: int
) -> None:
    assert child.run(10, work, FAILED) == code


def test_a_child_that_hangs_is_left_behind() -> None:
    started = time.monotonic()
    assert child.run(0.3, hangs, FAILED) == FAILED
    assert time.monotonic() - started < 5


def test_a_child_that_cannot_end_has_said_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread in an uninterruptible sleep keeps its process, as tests/faults shows."""
    monkeypatch.setattr(os, "_exit", lambda _code: time.sleep(60))
    assert child.run(10, lambda: 7, FAILED) == 7


def as_program(work: str, *, end: str = "") -> list[str]:
    text = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from kvmguest import child
def work():
    {work}
code = child.run(30, work, 99)
{end}
os._exit(code)"""
    return [sys.executable, "-c", text]


def test_what_it_prints_is_printed_in_both_streams() -> None:
    program = as_program("os.write(1, b'out' * 100000); os.write(2, b'err'); return 3")
    done = subprocess.run(program, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out" * 100000, b"err")


def test_nobody_need_listen() -> None:
    program = as_program("os.write(1, b'out'); return 3")
    with subprocess.Popen(program, stdout=subprocess.PIPE) as run:
        assert run.stdout
        run.stdout.close()
        assert run.wait(10) == 3


def test_without_standard_streams() -> None:
    program = as_program("os.write(1, b'out'); return 3")
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *program]
    assert subprocess.run(closed, check=False).returncode == 3


def test_no_zombie_is_left() -> None:
    program = as_program("return 0", end="os.waitpid(-1, os.WNOHANG)")
    done = subprocess.run(program, stderr=subprocess.PIPE, check=False)
    assert b"ChildProcessError" in done.stderr


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = as_program(f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    with subprocess.Popen(program) as run:
        pid = poll(lambda: (note.exists() and note.read_text()) or None, 10)
        assert pid
        run.kill()
    assert poll(lambda: ends(pid) or None, 10)


def ends(pid: str) -> bool:
    """Whether a process is gone, or a zombie that its new parent has not asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
