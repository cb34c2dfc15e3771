"""What belongs to VCS: entry points, their exit codes and time limits, and where VCS lives.

No other module knows an exit code. Source of the numbers: the agent developer's guide, "Return
values for entry points" (7.3) and the type definition of KVMGuest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kvmguest.states import State, Verdict

EXIT_UNKNOWN = 99
EXIT_OFFLINE = 100
EXIT_INTENTIONAL_OFFLINE = 200
EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_NOT_MIGRATED = 255
"""migrate's 0 to 100 are waits; what is above is no success."""
MAX_EXIT_SECONDS = 255
"""online's exit value is a number of seconds, and an exit value is one byte."""


class EntryPoint(NamedTuple):
    """``limit_s``: VCS's default timeout; ``failed``: the exit code when it cannot do its work."""

    limit_s: int
    failed: int


# online and offline have no exit code for failure: the monitor that follows tells VCS the truth.
ENTRY_POINTS: Mapping[str, EntryPoint] = {
    "open": EntryPoint(60, EXIT_DONE),
    "close": EntryPoint(60, EXIT_DONE),
    "online": EntryPoint(300, EXIT_DONE),
    "offline": EntryPoint(300, EXIT_DONE),
    "monitor": EntryPoint(60, EXIT_UNKNOWN),
    "clean": EntryPoint(60, EXIT_FAILED),
    "migrate": EntryPoint(300, EXIT_NOT_MIGRATED),
    "attr_changed": EntryPoint(60, EXIT_DONE),
    "action": EntryPoint(30, EXIT_FAILED),
}

CLEAN_REASONS: Mapping[str, str] = {
    "0": "offline did not finish in time",
    "1": "offline had no effect",
    "2": "online did not finish in time",
    "3": "online had no effect",
    "4": "the guest went offline unexpectedly",
    "5": "monitor timed out too often",
}

ONLINE_FAILED = frozenset({"2", "3"})
"""Reasons of clean after which this node's definition is not known to be the current one."""
MAX_ACTION_OUTPUT_BYTES = 2048
"""VCS cuts what an action prints; source: "About the action entry point" (7.3)."""


def monitor_exit(verdict: Verdict) -> int:
    """99, 100, 101 to 110 (confidence 10 to 100) or 200."""
    if verdict.state is State.ONLINE:
        return EXIT_OFFLINE + verdict.confidence // 10
    return {
        State.OFFLINE: EXIT_OFFLINE,
        State.INTENTIONAL_OFFLINE: EXIT_INTENTIONAL_OFFLINE,
        State.UNKNOWN: EXIT_UNKNOWN,
    }[verdict.state]


def split_arguments(verb: str, arguments: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    """Resource name, clean's reason or the action's token ("" elsewhere), and the ArgList tuples.

    VCS tells an action's token by the name of the executable, which passes it on as the first
    argument. attr_changed gets ``<resource> <changed resource> <attribute> <values>``, no tuples.
    """
    resource = arguments[0] if arguments else ""
    if verb == "attr_changed":
        return resource, "", ()
    if verb == "action":
        return "".join(arguments[1:2]), resource, arguments[2:]
    if verb == "clean" and arguments[1:2] and arguments[1].isdigit():
        return resource, arguments[1], arguments[2:]
    return resource, "", arguments[1:]


def time_limit(verb: str, arguments: Sequence[str]) -> int:
    """Seconds after which VCS kills the entry point: ``AEPTimeout 1 <seconds>``, else the default.

    VCS appends the tuple. Whether the list is sound is not judged here: arglist does that.
    """
    words = list(arguments)[::-1]
    value = words[words.index("AEPTimeout") - 2] if "AEPTimeout" in words[2:] else ""
    return number(value) or ENTRY_POINTS[verb].limit_s


def number(text: str) -> int | None:
    """A count or a number of seconds; None where the text is anything else, or absurdly long."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def action_arguments(others: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What ``hares -action ... -actionargs`` gave: a list, or one scalar with commas in it."""
    given = others.get("ACTION_ARGS", ())
    if len(given) == 1:
        given = given[0].split(",")
    return tuple(text.strip() for text in given if text.strip())


def action_output(text: str) -> bytes:
    """One line of at most 2048 bytes, without control characters."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(text.split()).encode(errors="backslashreplace")
    short = line[: MAX_ACTION_OUTPUT_BYTES - 1].decode(errors="ignore")
    return short.encode() + b"\n"


def migration_target(others: Mapping[str, Sequence[str]]) -> str:
    """The VCS system that migrate shall move the guest to, "" when none is named.

    The layout of VCSInfo is not documented beyond the word TargetHost, so ``TargetHost <name>``,
    ``TargetHost=<name>`` and a bare name are all understood.
    """
    values = list(others.get("VCSInfo", ()))
    if "TargetHost" in values[:-1]:
        return values[values.index("TargetHost") + 1]
    for value in values:
        key, equals, name = value.partition("=")
        if equals and key.strip() == "TargetHost":
            return name.strip()
    return values[0] if len(values) == 1 and values != ["TargetHost"] else ""


def vcs_bin(env: Mapping[str, str]) -> str:
    """The directory of VCS's own commands and of the logging helper."""
    return os.path.join(env.get("VCS_HOME") or "/opt/VRTSvcs", "bin")


def systems(env: Mapping[str, str], seconds: float) -> list[str]:
    """The names of the cluster's systems, [] when VCS does not tell."""
    return _ask(["hasys", "-list"], env, seconds).split()


def has_system_died(name: str, env: Mapping[str, str], seconds: float) -> bool:
    """Whether VCS says that this system left the cluster without saying good-bye.

    Only FAULTED is that. A system in EXITED stopped VCS in good order (hastop -force leaves its
    guests running), and one in DDNA or UNKNOWN may live. Anything but this one word, alone or in
    a table of one row, is no answer.
    """
    lines = _ask(["hasys", "-state", name], env, seconds).splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return rows in ([["FAULTED"]], [[name, "SysState", "FAULTED"]])


def _ask(command: Sequence[str], env: Mapping[str, str], seconds: float) -> str:
    """What a VCS command prints; "" when it fails, hangs or is not there."""
    import subprocess  # noqa: PLC0415 - rarely needed, and it costs a monitor 8 ms

    path = os.path.join(vcs_bin(env), command[0])
    try:
        done = subprocess.run(
            [path, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
