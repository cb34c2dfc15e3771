"""The executables as processes: where they are started from, with what, and how they log."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import BIN, GUEST, Agent
from tests.doubles.vcs_home import FAILS, HANGS, VcsHome

VERBS = ["monitor", "online", "offline", "clean", "open", "close", "attr_changed", "migrate"]
WEB = ["GuestName", "1", GUEST]
TUPLES = [*WEB, "DelayAfterGuestOffline", "1", "1", "AEPTimeout", "1", "20"]


def test_every_entry_point_is_an_executable_of_a_few_lines() -> None:
    for verb in VERBS:
        text = (BIN / verb).read_text()
        assert text.startswith(("#!/usr/bin/python3 -I\n", "#!/usr/bin/python3 -IS\n"))
        assert len(text.splitlines()) <= 12
        assert os.access(BIN / verb, os.X_OK)


def test_through_a_symbolic_link_as_vcs_has_it(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "KVMGuest").symlink_to(BIN)
    done = agent.run("monitor", "res", *TUPLES, executable=tmp_path / "KVMGuest/monitor")
    assert (done.code, done.err) == (110, "")
    (message,) = agent.home.messages()
    assert (message.agent, message.resource, message.entry_point) == ("KVMGuest", "res", "monitor")


def test_from_any_directory(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "kvmguest").mkdir()
    (tmp_path / "kvmguest/__init__.py").write_text("raise SystemExit(110)")
    (tmp_path / "libvirt.py").write_text("raise SystemExit(110)")
    agent.guests({GUEST: "shut off"})
    assert agent.run("monitor", "res", *TUPLES, cwd=tmp_path).code == 100
    relative = Path(os.path.relpath(BIN / "monitor", tmp_path))
    assert agent.run("monitor", "res", *TUPLES, cwd=tmp_path, executable=relative).code == 100


def test_from_a_directory_that_is_gone(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    shell = ["/bin/sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(tmp_path / "gone")]
    assert agent.run("monitor", "res", *TUPLES, prefix=shell).code == 110


@pytest.mark.parametrize("module", ["os", "libvirt", "typing", "kvmguest", "sitecustomize"])
def test_a_hostile_pythonpath_is_ignored(agent: Agent, tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("raise SystemExit(100)")
    env = {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": f"{tmp_path}/{module}.py"}
    env |= {"PYTHONHOME": "/nowhere", "PYTHONINSPECT": "1", "PYTHONVERBOSE": "1"}
    done = agent.run("monitor", "res", *TUPLES, env=env, cwd=tmp_path)
    assert (done.code, done.out, done.err) == (110, "", "")


@pytest.mark.parametrize("locale", ["de_DE.UTF-8", "C", "tr_TR.ISO-8859-9", "nonsense"])
def test_another_locale(agent: Agent, locale: str) -> None:
    agent.guests({"wéb": "running"})
    done = agent.run("monitor", "res", "GuestName", "1", "wéb", env={"LC_ALL": locale})
    assert (done.code, done.out, done.err) == (110, "", "")
    assert agent.home.texts() == ["wéb: libvirt: running (unknown): ONLINE, confidence 100"]


def test_without_standard_files(agent: Agent) -> None:
    shell = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    assert agent.run("monitor", "res", *TUPLES, prefix=shell).code == 110
    assert len(agent.home.messages()) == 1


def test_a_reader_that_went_away(agent: Agent) -> None:
    """Standard error is a broken pipe and debug output wants it."""
    monitor = f'"{BIN}/monitor" res GuestName 1 "{GUEST}"'
    command = f'{monitor} 2>&1 >/dev/null; echo $? >"{agent.directory}/code"'
    env = agent.environment(KVMGUEST_DEBUG="2")
    subprocess.run(["/bin/bash", "-c", f"{{ {command}; }} | true"], env=env, check=True)
    assert (agent.directory / "code").read_text().strip() in {"110", "99"}


@pytest.mark.parametrize("verb", VERBS)
def test_vcs_reads_nothing_but_the_exit_code(agent: Agent, verb: str) -> None:
    reason = ["4"] if verb == "clean" else []
    done = agent.run(verb, "res", *reason, *TUPLES)
    assert (done.out, done.err) == ("", "")


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_started_where_there_is_nothing_to_log(agent: Agent, verb: str) -> None:
    agent.run("monitor", "res", *TUPLES)
    agent.home.forget()
    if verb in {"monitor", "open", "close", "attr_changed"}:
        agent.run(verb, "res", *TUPLES)
        assert agent.home.calls() == []


# The log


@pytest.mark.parametrize(("helper", "name"), [(True, "VCSAG_LOG_MSG"), (False, "halog")])
def test_vcs_gets_the_message(agent: Agent, tmp_path: Path, helper: bool, name: str) -> None:
    agent.home = VcsHome(tmp_path / "other", helper=helper)
    agent.run("monitor", "res", *TUPLES, executable=BIN / "monitor")
    assert [call.name for call in agent.home.calls()] == [name]
    (message,) = agent.home.messages()
    assert message.text == f"{GUEST}: libvirt: running (unknown): ONLINE, confidence 100"
    assert (message.severity, message.resource, message.entry_point) == ("I", "res", "monitor")


# A /dev of its own, so that the machine's syslog is neither needed nor told.
_OWN_DEV = """
mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9
ln -s "$1" /dev/log && shift && exec "$@"
"""


@pytest.mark.parametrize("behaviour", ["", FAILS])
def test_syslog_gets_it_where_vcs_does_not(agent: Agent, tmp_path: Path, behaviour: str) -> None:
    loggers = bool(behaviour)
    agent.home = VcsHome(tmp_path / "other", helper=loggers, halog=loggers, behaviour=behaviour)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "log"))
        listener.settimeout(5)
        shell = ["unshare", "--mount", "/bin/sh", "-c", _OWN_DEV, "sh", str(tmp_path / "log")]
        assert agent.run("monitor", "res", *TUPLES, prefix=shell).code == 110
        line = listener.recv(4096).decode()
    assert line.startswith("<30>")  # daemon.info
    assert "KVMGuest[" in line
    assert line.endswith(f"res:monitor:{GUEST}: libvirt: running (unknown): ONLINE, confidence 100")


def test_a_repeated_verdict_is_not_repeated(agent: Agent) -> None:
    for _minute in range(3):
        agent.run("monitor", "res", *TUPLES)
    agent.guests({GUEST: "shut off"})
    for _minute in range(3):
        agent.run("monitor", "res", *TUPLES)
    agent.run("monitor", "other", *TUPLES)
    agent.guests({GUEST: "running"})
    agent.run("monitor", "res", *TUPLES)
    assert [text.split(": ")[2] for text in agent.home.texts()] == [
        "running (unknown)",
        "shut off (unknown)",
        "shut off (unknown)",
        "running (unknown)",
    ]


def test_debug_output_can_be_repeated_by_hand(agent: Agent) -> None:
    done = agent.run("monitor", "res", *TUPLES, env={"KVMGUEST_DEBUG": "2"})
    assert done.code == 110
    commands = [line.partition(": ")[2] for line in done.err.splitlines() if "virsh" in line]
    assert any(line.startswith(f"virsh domstate --reason {GUEST}: [1, 0]") for line in commands)
    assert [m.severity for m in agent.home.messages()].count("DBG_2") == len(commands)


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "halog"])
@pytest.mark.parametrize("verb", ["monitor", "clean", "offline", "online"])
def test_a_logger_that_hangs_does_not_outlive_the_timeout(
    agent: Agent, tmp_path: Path, verb: str, helper: bool
) -> None:
    home = VcsHome(tmp_path / "other", helper=helper, behaviour=HANGS)
    agent.home = home
    words = [*WEB, "DelayAfterGuestOffline", "1", "1", "AEPTimeout", "1", "4"]
    done = agent.run(verb, "res", *(["4"] if verb == "clean" else []), *words)
    assert done.code == (110 if verb == "monitor" else 0)
    assert done.seconds < 4
    assert (home.path / "hanging").exists()
    assert home.hanging_pids() == []


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[str]:
    """The address of a libvirtd that takes connections and answers nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "frozen"))
        listener.listen(16)
        yield f"qemu+unix:///system?socket={tmp_path}/frozen"


@pytest.mark.parametrize(
    ("verb", "code"), [("monitor", 99), ("clean", 1), ("online", 0), ("offline", 0), ("open", 0)]
)
def test_a_libvirt_that_hangs_does_not_outlive_the_timeout(
    agent: Agent, frozen: str, verb: str, code: int
) -> None:
    agent.configure(frozen)
    reason = ["4"] if verb == "clean" else []
    done = agent.run(verb, "res", *reason, *WEB, "AEPTimeout", "1", "3")
    assert (done.code, done.out, done.err) == (code, "", "")
    assert done.seconds < 3
    if verb != "open":
        assert "no answer" in agent.home.texts()[-1]


def test_everything_hangs_at_once(agent: Agent, tmp_path: Path, frozen: str) -> None:
    agent.home = VcsHome(tmp_path / "other", behaviour=HANGS)
    agent.configure(frozen)
    done = agent.run("clean", "res", "4", *WEB, "AEPTimeout", "1", "4")
    assert done.code == 1
    assert done.seconds < 4


@pytest.mark.parametrize(("verb", "code"), [("monitor", 99), ("clean", 1)])
def test_a_file_that_hangs_does_not_outlive_the_timeout(agent: Agent, verb: str, code: int) -> None:
    """A FIFO stands for a file on a server that does not answer."""
    os.mkfifo(agent.directory / "fifo")
    words = [*(["4"] if verb == "clean" else []), *WEB, "AEPTimeout", "1", "4"]
    done = agent.run(verb, "res", *words, env={"KVMGUEST_CONF": str(agent.directory / "fifo")})
    assert (done.code, done.out, done.err) == (code, "", "")
    assert done.seconds < 4
    assert agent.home.texts() == [
        f"{verb} gave up before its limit of 4 s: a disk or a daemon hangs"
    ]


def test_a_state_directory_that_cannot_be_used_costs_only_brevity(agent: Agent) -> None:
    agent.state_dir.write_text("a file")
    for _minute in range(2):
        assert agent.run("monitor", "res", *TUPLES).code == 110
    assert len(agent.home.messages()) == 2


def test_monitors_of_many_resources_at_once(agent: Agent) -> None:
    processes = [
        subprocess.Popen([BIN / "monitor", f"res{number}", *TUPLES], env=agent.environment())
        for number in range(20)
    ]
    assert {process.wait(60) for process in processes} == {110}
    assert len(agent.home.messages()) == 20


# What a KVM monitor loads, and what is secret

HEAVY = {"requests", "lxml", "subprocess", "configparser", "dataclasses", "logging", "argparse"}
HEAVY |= {"json", "inspect", "asyncio", "ssl", "http", "urllib", "xml", "tempfile", "shutil"}

PROBE = """
import os, sys
path, end = sys.argv[1], os._exit
def report(code):
    print(*sorted(sys.modules), sep="\\n", flush=True)
    end(code)
os._exit = report
sys.argv = sys.argv[1:]
exec(compile(open(path).read(), path, "exec"), {"__name__": "__main__", "__file__": path})
"""


def test_a_monitor_with_no_news_loads_only_what_it_needs(agent: Agent) -> None:
    agent.run("monitor", "res", *TUPLES)  # the news
    (agent.directory / "kvmguest.conf").unlink()  # most sites have none; it costs configparser
    interpreter = (BIN / "monitor").read_text().partition("\n")[0].removeprefix("#!").split()
    uri, state_dir = f"test://{agent.directory}/node.xml", Path("/var/lib/kvmguest")
    existed = state_dir.exists()
    python = [*interpreter, "-c", PROBE]
    env = {"LIBVIRT_DEFAULT_URI": uri, "VCS_HOME": "/nonexistent"}
    name = "a resource of the start-up test"
    try:
        agent.run("monitor", name, *TUPLES, env=env)
        done = agent.run("monitor", name, *TUPLES, env=env, prefix=python)
    finally:
        (state_dir / f"x.{name.encode().hex()[:200]}").unlink(missing_ok=True)
        if not existed:
            state_dir.rmdir()
    loaded = set(done.out.split())
    assert done.code == 110
    assert {"kvmguest.virsh", "libvirt"} <= loaded
    assert loaded & HEAVY == set()


SECRET = "n0tInAnyLog"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("is_enabled", ["0", "1", "nonsense"])
def test_the_password_is_in_no_log_and_no_output(agent: Agent, verb: str, is_enabled: str) -> None:
    words = [
        "RHEVMInfo",
        "6",
        "Enabled",
        is_enabled,
        "Password",
        SECRET,
        "URL",
        "https://127.0.0.1:1",
    ]
    done = agent.run(
        verb,
        "res",
        *(["4"] if verb == "clean" else []),
        *TUPLES,
        *words,
        env={"KVMGUEST_DEBUG": "21"},
    )
    logged = (agent.home.path / "calls.jsonl").read_text() if agent.home.calls() else ""
    assert SECRET not in done.out + done.err + logged
