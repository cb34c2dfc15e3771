"""Runs inside a laboratory host: measures commands in turn and prints what each run took.

Reads one JSON object from standard input: ``commands`` (name -> argv and environment), ``rounds``,
``at_once`` and ``waves``; writes one JSON object with the samples. Only Python's own library, so
that this process stays small: a child's peak memory counts what it was before exec.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

Sample = tuple[float, float, int]
"""Wall seconds, CPU seconds (user and system, descendants included), peak memory in KiB."""


def _start(argv: Sequence[str], env: Mapping[str, str]) -> int:
    null = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in (0, 1, 2)]
    return os.posix_spawnp(argv[0], list(argv), {**os.environ, **env}, file_actions=null)


def _end(pid: int, name: str, codes: Sequence[int]) -> Any:
    _pid, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in codes:
        raise RuntimeError(f"{name} ended with {code}, not with one of {codes}")
    return usage


def _once(name: str, command: Mapping[str, Any]) -> Sample:
    start = time.monotonic()
    usage = _end(_start(command["argv"], command["env"]), name, command["codes"])
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def _wave(name: str, command: Mapping[str, Any], size: int) -> tuple[float, float]:
    start = time.monotonic()
    pids = [_start(command["argv"], command["env"]) for _number in range(size)]
    usages = [_end(pid, name, command["codes"]) for pid in pids]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return time.monotonic() - start, cpu


def main() -> None:
    """Measure as asked; the commands take turns, so that a change of load hits all of them."""
    task = json.load(sys.stdin)
    commands = task["commands"]
    alone: dict[str, list[Sample]] = {name: [] for name in commands}
    at_once: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for name, command in commands.items():
        _once(name, command)  # fills caches, and says what there is to say
    for _round in range(task["rounds"]):
        for name, command in commands.items():
            alone[name].append(_once(name, command))
    for _wave_number in range(task["waves"]):
        for name, command in commands.items():
            at_once[name].append(_wave(name, command, task["at_once"]))
    json.dump({"alone": alone, "at_once": at_once}, sys.stdout)


if __name__ == "__main__":
    main()
