"""Command lines as libvirt 3 to 9 writes them, in a /proc of our own; one real process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kvmguest.deadline import poll
from kvmguest.process_table import find_qemu, is_migrating, log_says_migrated

QEMU = "/usr/bin/qemu-system-x86_64"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("")
    return tmp_path


def add(proc: Path, pid: int, *words: str) -> None:
    (proc / str(pid)).mkdir()
    line = b"".join(os.fsencode(word) + b"\0" for word in words)
    (proc / str(pid) / "cmdline").write_bytes(line)


def pid_of(guest: str, proc: Path) -> int | None:
    qemu = find_qemu(guest, str(proc))
    return qemu.pid if qemu else None


@pytest.mark.parametrize(
    ("program", "option"),
    [
        (QEMU, "guest=web,debug-threads=on"),
        (QEMU, "guest=web"),
        (QEMU, "web"),
        (QEMU, "web,process=qemu:web"),
        ("/usr/libexec/qemu-kvm", "guest=web,debug-threads=on"),
        ("/usr/bin/kvm", "web"),
        ("qemu-system-aarch64", "guest=web"),
    ],
)
def test_the_guests_process_is_found(proc: Path, program: str, option: str) -> None:
    add(proc, 12, program, "-name", option, "-S")
    assert pid_of("web", proc) == 12


@pytest.mark.parametrize("running", ["web1", "we", "myweb", "WEB", "web.", "web ", "guest=web1"])
def test_not_another_guests_process(proc: Path, running: str) -> None:
    add(proc, 12, QEMU, "-name", f"guest={running},debug-threads=on")
    assert pid_of("web", proc) is None


def test_a_process_whose_first_thread_ended_lives_on(proc: Path) -> None:
    """It was killed while its disk hangs: another thread still waits for its writes."""
    add(proc, 12)
    for thread in (12, 13):
        (proc / "12/task" / str(thread)).mkdir(parents=True)
    line = b"\0".join([QEMU.encode(), b"-name", b"guest=web,debug-threads=on", b""])
    (proc / "12/task/12/cmdline").write_bytes(b"")
    (proc / "12/task/13/cmdline").write_bytes(line)
    assert pid_of("web", proc) == 12
    (proc / "12/task/13/cmdline").write_bytes(b"")
    assert pid_of("web", proc) is None


@pytest.mark.parametrize("pattern", ["p.1", "pt*", "^pt1$", "pt[0-9]", ".*", ""])
def test_a_name_is_no_pattern(proc: Path, pattern: str) -> None:
    """Measured with VirtualDomain: p.1 is configured, pt1 runs, and it says "running"."""
    add(proc, 12, QEMU, "-name", "guest=pt1,debug-threads=on")
    assert pid_of(pattern, proc) is None


@pytest.mark.parametrize("name", ["a,b", "a,,b", ",", "a b", "guest=web", "wéb", "-name", "a=b"])
def test_odd_names(proc: Path, name: str) -> None:
    add(proc, 12, QEMU, "-name", f"guest={name.replace(',', ',,')},debug-threads=on")
    assert pid_of(name, proc) == 12
    assert pid_of(name.partition(",")[0] + "x", proc) is None


def test_a_comma_does_not_cut_a_name(proc: Path) -> None:
    add(proc, 12, QEMU, "-name", "guest=a,,b,debug-threads=on")
    assert pid_of("a", proc) is None


def test_bytes_that_are_no_text(proc: Path) -> None:
    add(proc, 12, QEMU, "-name", "guest=\udcff,debug-threads=on")
    assert pid_of("\udcff", proc) == 12
    assert pid_of("web", proc) is None


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("",),
        ("/usr/bin/vim", "-name", "guest=web"),
        ("/usr/bin/grep", "qemu-system-x86_64", "-name", "web"),
        (QEMU, "-name"),
        (QEMU, "web"),
        (QEMU, "-device", "-name=guest=web"),
    ],
)
def test_what_is_no_qemu_of_the_guest(proc: Path, words: tuple[str, ...]) -> None:
    add(proc, 12, *words)
    assert pid_of("web", proc) is None


def test_a_zombie_or_a_process_that_just_ended(proc: Path) -> None:
    (proc / "12").mkdir()
    (proc / "12" / "cmdline").write_bytes(b"")
    (proc / "13").mkdir()
    add(proc, 14, QEMU, "-name", "guest=web")
    assert pid_of("web", proc) == 14


@pytest.mark.parametrize(("words", "is_incoming"), [((), False), (("-incoming", "defer"), True)])
def test_a_receiver_of_a_migration(proc: Path, words: tuple[str, ...], is_incoming: bool) -> None:
    add(proc, 12, QEMU, "-name", "guest=web", *words)
    qemu = find_qemu("web", str(proc))
    assert qemu is not None
    assert qemu.is_incoming is is_incoming


def test_the_real_process_table() -> None:
    arguments = ["qemu-of-a-test", "-c", "read line", "sh", "-name", "guest=not a guest,x=y"]
    with subprocess.Popen(arguments, executable="/bin/bash", stdin=subprocess.PIPE) as process:
        # The kernel fills in a new process's command line a moment after it was started.
        found = poll(lambda: find_qemu("not a guest"), 5, every_s=0.01)
        process.communicate(b"\n")
    assert found is not None
    assert found.pid == process.pid
    assert find_qemu("not a guest") is None


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("<job type='none' async='migration out' phase='perform3' flags='0x820b'/>", True),
        ("<job type='none' async='migration in' phase='prepare'>", True),
        ("<job type='none' async='dump'/>", False),
        ("<title>async=migration out</title>", False),
        ("", False),
    ],
)
def test_libvirts_record_of_a_migration(tmp_path: Path, job: str, *, expected: bool) -> None:
    text = f"<domstatus state='running' reason='booted' pid='56'>{job}<domain/></domstatus>"
    (tmp_path / "web.xml").write_text(text, encoding="utf-8")
    assert is_migrating("web", str(tmp_path)) is expected


def test_no_record_is_no_answer(tmp_path: Path) -> None:
    assert is_migrating("web", str(tmp_path)) is None


UP = "2026-11-23 08:04:02.251+0000: starting up libvirt version: 9.0.0, hostname: node1\n"
DOWN = "2026-11-23 08:05:31.045+0000: shutting down, reason={}\n"


@pytest.mark.parametrize(
    ("log", "has_left"),
    [
        ("", False),
        (UP, False),
        (UP + DOWN.format("migrated"), True),
        (UP + DOWN.format("migrated") + "qemu: terminating on signal 15\n", True),
        (UP + DOWN.format("migrated") + UP, False),
        (UP + DOWN.format("migrated") + UP + DOWN.format("destroyed"), False),
        (DOWN.format("destroyed") + UP + DOWN.format("migrated"), True),
        (f"a guest printed: {DOWN.format('migrated')}", False),
        (UP + "x" * 200_000 + "\n" + DOWN.format("migrated"), True),
    ],
)
def test_libvirts_log_remembers_a_migration(tmp_path: Path, log: str, has_left: bool) -> None:
    (tmp_path / "web.log").write_text(log)
    assert log_says_migrated("web", str(tmp_path)) is has_left


def test_without_a_log_nothing_is_remembered(tmp_path: Path) -> None:
    assert not log_says_migrated("web", str(tmp_path))
    assert not log_says_migrated("../web", str(tmp_path / "gone"))
