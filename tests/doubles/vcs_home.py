"""A directory that stands for VCS_HOME: VCS's own commands, which record what they were asked.

The logging helper and halog compose the log line as VCS does and append it to a record; hasys,
hares and the decryption command answer what the test wrote for them. Every command appends one JSON
line, with its arguments and VCS's part of its environment.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.lab.namespaces import LabError, is_alive, wait_until_gone

_RECORDER = """\
#!/usr/bin/python3 -I
import json, os, sys
home, name, *argv = sys.argv[1:]
call = {
    "name": name,
    "argv": argv,
    "env": {k: v for k, v in os.environ.items() if k.startswith("VCS")},
}
line = json.dumps(call) + "\\n"
record = os.open(os.path.join(home, "calls.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.write(record, line.encode())  # one write: callers may run at once
answer = os.path.join(home, "answers", name)
if os.path.exists(answer):
    with open(answer) as file:
        code, text = json.load(file)
    sys.stdout.write(text)
    sys.exit(code)
"""

# halog(1M): a text of at most 4096 bytes and either a severity or a debug level.
_HALOG = """\
#!/bin/sh
{behaviour}
"{home}/record" "{home}" halog "$@"
[ "$1" = -add ] && [ "$(printf %s "$2" | wc -c)" -le 4096 ] || exit 1
case "$3 $4" in
    "-sev "[CEWNI] | "-dbg "[1-9] | "-dbg "1[0-9] | "-dbg "2[01]) exit 0 ;;
esac
exit 1
"""

# The helper is sourced by a script, which calls VCSAG_SET_ENVS first.
_HELPER = """\
VCSAG_SET_ENVS() {{
    VCSAG_LOG_CATEGORY=${{2:-10031}}
    VCSAG_LOG_RESOURCE_NAME=$1
    VCSAG_LOG_SCRIPT_NAME=$0
    VCSAG_LOG_AGENT_NAME=$(dirname "$0")
    export VCSAG_LOG_CATEGORY VCSAG_LOG_RESOURCE_NAME VCSAG_LOG_SCRIPT_NAME VCSAG_LOG_AGENT_NAME
}}
VCSAG_LOG_MSG() {{
    {behaviour}
    "{home}/record" "{home}" VCSAG_LOG_MSG "$@"
}}
VCSAG_LOGDBG_MSG() {{
    {behaviour}
    "{home}/record" "{home}" VCSAG_LOGDBG_MSG "$@"
}}
"""

_PLAIN = '#!/bin/sh\nexec "{home}/record" "{home}" {name} "$@"\n'

HANGS = "echo $$ >>{home}/hanging; sleep 300"
FAILS = "exit 3"


class Call(NamedTuple):
    """One command that was started: its name, arguments, and its VCS* variables."""

    name: str
    argv: list[str]
    env: dict[str, str]


class Message(NamedTuple):
    """One line as VCS would log it; ``severity`` is a letter, or DBG_<level>."""

    severity: str
    agent: str
    resource: str
    entry_point: str
    text: str


class VcsHome:
    """The directory; ``path`` goes into VCS_HOME."""

    def __init__(
        self, path: Path, *, helper: bool = True, halog: bool = True, behaviour: str = ""
    ) -> None:
        """Build it.

        Args:
            path: where; need not exist.
            helper: whether bin/ag_i18n_inc.sh is there.
            halog: whether bin/halog is there.
            behaviour: HANGS or FAILS: what both loggers do before anything else.
        """
        self.path = path
        bin_dir = path / "bin"
        bin_dir.mkdir(parents=True)
        (path / "answers").mkdir()
        words = {"home": str(path), "behaviour": behaviour.format(home=path) or ":"}
        self._install(path / "record", _RECORDER)
        if helper:
            (bin_dir / "ag_i18n_inc.sh").write_text(_HELPER.format(**words))
        if halog:
            self._install(bin_dir / "halog", _HALOG.format(**words))
        for name in ("hasys", "hares", "decrypt"):
            self._install(bin_dir / name, _PLAIN.format(name=name, **words))

    @property
    def decrypt_command(self) -> str:
        """The command that prints a password; see answer()."""
        return str(self.path / "bin/decrypt")

    def answer(self, name: str, text: str, code: int = 0) -> None:
        """What hasys, hares or decrypt print and exit with from now on."""
        (self.path / "answers" / name).write_text(json.dumps([code, text]))

    def calls(self, name: str = "") -> list[Call]:
        """What was started so far, of one command or of all."""
        record = self.path / "calls.jsonl"
        lines = record.read_text().splitlines() if record.exists() else []
        calls = [Call(**json.loads(line)) for line in lines]
        return [call for call in calls if name in {"", call.name}]

    def messages(self) -> list[Message]:
        """What is in the log, oldest first."""
        return [_message(call) for call in self.calls() if _is_logging(call)]

    def texts(self) -> list[str]:
        """The texts of messages()."""
        return [message.text for message in self.messages()]

    def forget(self) -> None:
        """Empty the record."""
        (self.path / "calls.jsonl").unlink(missing_ok=True)

    def hanging_pids(self) -> Sequence[int]:
        """Loggers that were started and hung, and are still there after a moment."""
        record = self.path / "hanging"
        pids = [int(line) for line in record.read_text().split()] if record.exists() else []
        for pid in pids:
            with contextlib.suppress(LabError):
                wait_until_gone(pid, 2)  # it may have been killed just now
        return [pid for pid in pids if is_alive(pid)]

    @staticmethod
    def _install(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


def _is_logging(call: Call) -> bool:
    return call.name in {"halog", "VCSAG_LOG_MSG", "VCSAG_LOGDBG_MSG"}


def _message(call: Call) -> Message:
    if call.name == "halog":
        _add, line, option, value = call.argv
        agent, resource, entry_point, text = line.split(":", 3)
        severity = value if option == "-sev" else f"DBG_{value}"
        return Message(severity, agent, resource, entry_point, text)
    severity, text = call.argv[:2]
    if call.name == "VCSAG_LOGDBG_MSG":
        severity = f"DBG_{severity}"
    return Message(
        severity,
        os.path.basename(call.env["VCSAG_LOG_AGENT_NAME"]),
        call.env["VCSAG_LOG_RESOURCE_NAME"],
        os.path.basename(call.env["VCSAG_LOG_SCRIPT_NAME"]),
        text,
    )
