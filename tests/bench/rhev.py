"""A monitor call on RHEV-M beside Debian's fence_rhevm, on the same server in the same run.

    python3 -m tests.bench.rhev [rounds]

Both ask for one VM's status. Ours runs in steady state (a session is kept); fence_rhevm has none to
keep. The server is the double in a process of its own, with real TLS; its CPU time is shown too.
fence_rhevm does not check the certificate here, since it takes no CA file; ours does.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from tests.contract.rhev_agent import ROOT, RhevAgent
from tests.doubles.manager import ManagerElsewhere

ROUNDS = 21
AT_ONCE = 50
WAVES = 5
GUEST = "g1"
_IMPORTS = (
    ("python3 -IS, nothing else", "pass"),
    ("and kvmguest.entry", "import kvmguest.entry"),
    ("and http.client, ssl", "import kvmguest.entry, http.client, ssl"),
    ("and lxml", "import kvmguest.entry, http.client, ssl, lxml.etree"),
    ("and kvmguest.rhev", "import kvmguest.rhev.backend"),
    ("for comparison: requests, lxml", "import requests, lxml.etree"),
)


class Command(NamedTuple):
    """A command line, its environment, and the exit codes that mean that it worked."""

    argv: Sequence[str]
    env: Mapping[str, str]
    codes: Sequence[int]


class Cost(NamedTuple):
    """Milliseconds of one run: wall clock, and CPU of the process and its children."""

    wall: float
    cpu: float


def _start(command: Command) -> int:
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    argv = list(command.argv)
    return os.posix_spawn(argv[0], argv, dict(command.env), file_actions=null)


def _end(pid: int, command: Command) -> tuple[float, bool]:
    """Wait for it; its CPU time in ms, and whether it gave the right answer."""
    _pid, status, usage = os.wait4(pid, 0)
    is_right = os.waitstatus_to_exitcode(status) in command.codes
    return (usage.ru_utime + usage.ru_stime) * 1000, is_right


def once(command: Command) -> Cost:
    """One run alone."""
    begin = time.monotonic()
    cpu, is_right = _end(_start(command), command)
    if not is_right:
        raise RuntimeError(f"{command.argv[0]} gave no right answer")
    return Cost((time.monotonic() - begin) * 1000, cpu)


def wave(command: Command, size: int) -> tuple[Cost, int]:
    """Many runs at once: the time until the last one ended, all their CPU, and the wrong ones."""
    begin = time.monotonic()
    pids = [_start(command) for _ in range(size)]
    ends = [_end(pid, command) for pid in pids]
    cost = Cost((time.monotonic() - begin) * 1000, sum(cpu for cpu, _right in ends))
    return cost, sum(not is_right for _cpu, is_right in ends)


def server_cpu_ms(pid: int) -> float:
    """User and system time that the server has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def commands(server: ManagerElsewhere, agent: RhevAgent) -> dict[str, Command]:
    """What is compared."""
    port = urlsplit(server.url).port
    fence = [
        *("/usr/sbin/fence_rhevm", "--ip", "127.0.0.1", "--ipport", str(port), "--ssl-insecure"),
        *("--username", server.user_name, "--password", "secret", "--plug", GUEST),
        *("--action", "status", "--api-version", "4"),
    ]
    env = {key: value for key, value in agent.env.items() if key != "KVMGUEST_DEBUG"}
    return {
        "bin/monitor": Command(agent.command("monitor", limit_s=60), env, (110,)),
        "fence_rhevm": Command(fence, {"PATH": "/usr/bin:/bin"}, (0,)),
    }


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(*(statistics.median(values) for values in zip(*costs)))


def _count(server: ManagerElsewhere) -> tuple[int, int]:
    return len(json.loads(server.tell("requests"))), int(json.loads(server.tell("logins")))


def compare_alone(server: ManagerElsewhere, both: Mapping[str, Command], rounds: int) -> None:
    """One call at a time, in turns, so that a change of load hits both."""
    print(f"{'':24}{'wall ms':>9}{'CPU ms':>9}{'requests':>10}{'logins':>8}{'server ms':>11}")
    asked: dict[str, str] = {}
    for name, command in both.items():
        once(command)  # logs in, logs its verdict, fills caches
        server.tell("count")
        before = server_cpu_ms(server.process.pid)
        for _ in range(rounds):
            once(command)
        used = (server_cpu_ms(server.process.pid) - before) / rounds
        requests, logins = _count(server)
        asked[name] = f"{requests / rounds:10.2f}{logins / rounds:8.2f}{used:11.1f}"
    alone: dict[str, list[Cost]] = {name: [] for name in both}
    for _ in range(rounds):
        for name, command in both.items():
            alone[name].append(once(command))
    medians = {name: _median(costs) for name, costs in alone.items()}
    for name, cost in medians.items():
        print(f"{name:24}{cost.wall:9.1f}{cost.cpu:9.1f}{asked[name]}")
    ours, theirs = medians.values()
    print(f"{'ratio':24}{ours.wall / theirs.wall:9.2f}{ours.cpu / theirs.cpu:9.2f}\n")


def compare_at_once(server: ManagerElsewhere, both: Mapping[str, Command]) -> None:
    """Waves of many calls, in turns."""
    print(f"{AT_ONCE} at once: until the last has ended, CPU of all, CPU of the server (ms), wrong")
    waves: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in both}
    for _ in range(WAVES):
        for name, command in both.items():
            before = server_cpu_ms(server.process.pid)
            cost, wrong = wave(command, AT_ONCE)
            used = server_cpu_ms(server.process.pid) - before
            waves[name].append((cost.wall, cost.cpu, used, wrong))
    for name, samples in waves.items():
        wall, cpu, used, _wrong = (statistics.median(values) for values in zip(*samples))
        wrong = sum(sample[3] for sample in samples)
        print(f"{name:24}{wall:9.0f}{cpu:9.0f}{used:9.0f}{wrong:7d} of {AT_ONCE * WAVES}")


def show_imports(rounds: int) -> None:
    """Where our start-up goes."""
    print("\na process that only imports (wall ms, CPU ms)")
    path = [str(ROOT), "/usr/lib/python3/dist-packages"]
    for name, code in _IMPORTS:
        prelude = f"import sys; sys.path[:0] = {path!r}; "
        python = Command(["/usr/bin/python3", "-IS", "-c", prelude + code], {}, (0,))
        cost = _median([once(python) for _ in range(rounds)])
        print(f"  {name:34}{cost.wall:7.1f}{cost.cpu:7.1f}")


def main(rounds: int) -> None:
    """Print the figures."""
    with (
        ManagerElsewhere("--profile", "4.4", "--host", "h1", "--vm", GUEST) as server,
        tempfile.TemporaryDirectory() as directory,
    ):
        server.tell(f"vm {GUEST} up h1")
        parts = urlsplit(server.url)
        face = SimpleNamespace(
            root=f"https://{parts.netloc}", ca_file=server.ca_file, user_name=server.user_name
        )
        agent = RhevAgent(Path(directory), cast("Any", face))
        agent.home.answer("decrypt", "secret\n")
        both = commands(server, agent)
        compare_alone(server, both, rounds)
        compare_at_once(server, both)
        show_imports(rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
