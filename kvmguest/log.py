"""Log lines the VCS way: VCS's shell helper, else its halog command, else syslog.

A shell is started only when there is something to say. On a terminal every message is printed
too, so an administrator who runs an entry point by hand sees what VCS would log; the environment
variable KVMGUEST_DEBUG=<level> adds the debug messages up to that level. VCS's own processes have
no terminal, so stdout and stderr stay empty there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from kvmguest.vcs import vcs_bin

MAX_BYTES = 3800
"""halog(1M) takes 4096 bytes, and a prefix comes before ours."""
HELPER_LIMIT_S = 1.0
"""A helper that hangs may cost this much of the reserve, and is not asked again."""
_SEVERITY = {"C": "CRITICAL", "E": "ERROR", "W": "WARNING", "N": "NOTICE", "I": "INFO"}
_MESSAGE_ID = {"C": 1, "E": 2, "W": 3, "N": 4, "I": 5}

# $1 helper, $2 resource, $3 agent directory, $4 script, then the words of one logging call. The
# text is a positional argument, so nothing in it is ever expanded.
_SHELL = """
. "$1" || exit 1
VCSAG_SET_ENVS "$2"
VCSAG_LOG_AGENT_NAME=$3 VCSAG_LOG_SCRIPT_NAME=$4
export VCSAG_LOG_AGENT_NAME VCSAG_LOG_SCRIPT_NAME
shift 4
"$@"
"""


class Log:
    """Messages of one run of one entry point, in VCS's severities."""

    def __init__(self, resource: str, verb: str, env: Mapping[str, str], script: str) -> None:
        self._resource = _plain(resource)
        self._verb = verb
        self._script = script
        self._bin = vcs_bin(env)
        level = env.get("KVMGUEST_DEBUG", "")
        self._debug_level = int(level) if level.isascii() and level.isdigit() else 0
        self._is_shown = bool(self._debug_level) or (sys.stderr is not None and sys.stderr.isatty())
        self._is_helper_usable = True

    def error(self, text: str) -> None:
        """Something must be done by an administrator."""
        self._write("E", text)

    def warning(self, text: str) -> None:
        """Not as it should be, but the agent goes on."""
        self._write("W", text)

    def info(self, text: str) -> None:
        """What was done or seen."""
        self._write("I", text)

    def debug(self, level: int, text: str) -> None:
        """Details, only written when KVMGUEST_DEBUG is at least ``level`` (1 to 21)."""
        if level <= self._debug_level:
            self._write(f"DBG_{level}", text)

    def show(self, text: str) -> None:
        """Print on a terminal only: what was logged before and need not be logged again."""
        if self._is_shown:
            print(text, file=sys.stderr)  # noqa: T201 - a terminal, or asked for

    def _write(self, severity: str, text: str) -> None:
        text = _plain(text).encode()[:MAX_BYTES].decode(errors="ignore")
        self.show(f"{_SEVERITY.get(severity, severity)}: {text}")
        if not self._tell_vcs(severity, text):
            import syslog  # noqa: PLC0415 - rarely needed

            syslog.openlog("KVMGuest", syslog.LOG_PID, syslog.LOG_DAEMON)
            level = {"E": syslog.LOG_ERR, "W": syslog.LOG_WARNING, "I": syslog.LOG_INFO}
            syslog.syslog(
                level.get(severity, syslog.LOG_DEBUG), f"{self._resource}:{self._verb}:{text}"
            )

    def _tell_vcs(self, severity: str, text: str) -> bool:
        """Hand a message to VCS; False when VCS is not here or did not take it in time."""
        level = severity.partition("_")[2]
        helper = os.path.join(self._bin, "ag_i18n_inc.sh")
        halog = os.path.join(self._bin, "halog")
        if not self._is_helper_usable:
            return False
        if os.path.exists(helper):
            words = (
                ["VCSAG_LOGDBG_MSG", level, text]
                if level
                else ["VCSAG_LOG_MSG", severity, text, str(_MESSAGE_ID[severity])]
            )
            agent = os.path.dirname(self._script)
            shell = ["/bin/sh", "-c", _SHELL, "sh", helper, self._resource, agent, self._script]
            command = shell + words
        elif os.path.exists(halog):
            end = ["-dbg", level] if level else ["-sev", severity]
            command = [halog, "-add", f"KVMGuest:{self._resource}:{self._verb}:{text}", *end]
        else:
            return False
        self._is_helper_usable = _run_briefly(command)
        return self._is_helper_usable


def _plain(text: str) -> str:
    """One line without control characters; bytes that were no text are spelt out."""
    text = text.encode(errors="backslashreplace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _run_briefly(command: list[str]) -> bool:
    """Run a logging command with a time limit; True when it ended well."""
    import signal  # noqa: PLC0415 - these two cost 8 ms, and most monitors log nothing
    import subprocess  # noqa: PLC0415

    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    try:
        return process.wait(HELPER_LIMIT_S) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the shell and what it started
        return False
