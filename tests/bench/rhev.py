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

from tests.contract.rhev_agent import RhevAgent
from tests.doubles.manager import ManagerElsewhere

ROUNDS = 21
AT_ONCE = 50
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


def _end(pid: int, command: Command) -> float:
    """Wait for it; its CPU time in ms."""
    _pid, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in command.codes:
        raise RuntimeError(f"{command.argv[0]} ended with {code}")
    return (usage.ru_utime + usage.ru_stime) * 1000


def once(command: Command) -> Cost:
    """One run alone."""
    begin = time.monotonic()
    cpu = _end(_start(command), command)
    return Cost((time.monotonic() - begin) * 1000, cpu)


def wave(command: Command, size: int) -> Cost:
    """Many runs at once: the time until the last one ended, and all their CPU."""
    begin = time.monotonic()
    pids = [_start(command) for _ in range(size)]
    cpu = sum(_end(pid, command) for pid in pids)
    return Cost((time.monotonic() - begin) * 1000, cpu)


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
        print(f"{'':24}{'wall ms':>9}{'CPU ms':>9}{'requests':>10}{'logins':>8}{'server ms':>11}")
        for command in both.values():
            once(command)  # logs in, logs its verdict, fills caches
        alone: dict[str, list[Cost]] = {name: [] for name in both}
        asked: dict[str, tuple[float, float, float]] = {}
        for name, command in both.items():
            server.tell("count")
            before = server_cpu_ms(server.process.pid)
            for _ in range(rounds):
                once(command)
            used = server_cpu_ms(server.process.pid) - before
            requests, logins = _count(server)
            asked[name] = (requests / rounds, logins / rounds, used / rounds)
        for _ in range(rounds):  # in turns, so that a change of load hits both
            for name, command in both.items():
                alone[name].append(once(command))
        medians = {name: _median(costs) for name, costs in alone.items()}
        for name, cost in medians.items():
            requests_each, logins_each, server_each = asked[name]
            print(
                f"{name:24}{cost.wall:9.1f}{cost.cpu:9.1f}{requests_each:10.2f}{logins_each:8.2f}"
                f"{server_each:11.1f}"
            )
        ours, theirs = medians["bin/monitor"], medians["fence_rhevm"]
        print(f"{'ratio':24}{ours.wall / theirs.wall:9.2f}{ours.cpu / theirs.cpu:9.2f}\n")
        print(f"{AT_ONCE} at once: until the last has ended, CPU of all, CPU of the server")
        for name, command in both.items():
            before = server_cpu_ms(server.process.pid)
            costs = [wave(command, AT_ONCE) for _ in range(3)]
            used = (server_cpu_ms(server.process.pid) - before) / 3
            cost = _median(costs)
            print(f"{name:24}{cost.wall:9.0f}{cost.cpu:9.0f}{used:9.0f}")
        print("\nwhere the start-up goes (wall ms of a process that only imports)")
        for name, code in _IMPORTS:
            prelude = (
                f"import sys; sys.path[:0] = [{os.getcwd()!r}, '/usr/lib/python3/dist-packages']; "
            )
            python = Command(["/usr/bin/python3", "-IS", "-c", prelude + code], {}, (0,))
            print(f"  {name:34}{_median([once(python) for _ in range(rounds)]).wall:7.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
