"""Every executable starts here: arguments in, one sentence logged, exit code out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple

from kvmguest import arglist, lifecycle, options, vcs
from kvmguest.deadline import Deadline, call_within
from kvmguest.errors import KvmGuestError, OperationFailed, Silent
from kvmguest.log import Log
from kvmguest.statedir import StateDir


class Call(NamedTuple):
    """One call of an entry point. ``reason`` is clean's, "" elsewhere."""

    verb: str
    reason: str
    config: arglist.GuestConfig
    site: options.Options
    memory: StateDir
    deadline: Deadline
    log: Log


def main(verb: str) -> None:
    """Run one entry point and end the process.

    ``os._exit`` does not wait for a thread that hangs in a call to a frozen daemon, and saves the
    interpreter's own clean-up.
    """
    code = vcs.ENTRY_POINTS[verb].failed
    try:
        code = run(verb, sys.argv[1:], os.environ)
        sys.stdout.flush()
    finally:
        os._exit(code)


def run(verb: str, arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Run one entry point within its deadline and return its exit code."""
    resource, reason, tuples = vcs.split_arguments(verb, arguments)
    log = Log(resource, verb, env, os.path.abspath(sys.argv[0]))
    limit_s, failed = vcs.ENTRY_POINTS[verb]
    try:
        config = arglist.parse(resource, tuples)
        limit_s = config.aep_timeout_s or limit_s
        deadline = Deadline(limit_s)

        def work() -> int:
            site = options.load(env)
            memory = StateDir(site.vcs_state_dir)
            return _act(Call(verb, reason, config, site, memory, deadline, log))

        return call_within(deadline.remaining_hard(), verb, work)
    except Silent:
        log.error(f"{verb} gave up before its limit of {limit_s} s: a disk or a daemon hangs")
    except KvmGuestError as error:
        log.error(str(error))
    except Exception:  # noqa: BLE001 - the last resort: log what happened, tell VCS nothing false
        import traceback  # noqa: PLC0415

        log.error(f"{verb} failed by a fault of its own: {traceback.format_exc()}")
    return failed


def _act(call: Call) -> int:
    act = _ACTS[call.verb]
    complaints = (*call.config.complaints, *call.site.complaints)
    if complaints and act is not _forget:
        code = vcs.ENTRY_POINTS[call.verb].failed
        _report(call, code, f"bad configuration: {'; '.join(complaints)}", call.log.error)
        return code
    return act(call)


def _prepare(call: Call) -> lifecycle.Run:
    """RHEVMInfo.Enabled chooses the backend, which is imported only when it is used."""
    if call.config.rhevm_info.is_enabled:
        raise OperationFailed("RHEVMInfo.Enabled is 1, but this version only manages plain KVM")
    _find_packages()
    try:
        from kvmguest.virsh import Virsh  # noqa: PLC0415
    except ImportError as error:
        raise OperationFailed(f"{error}: install the package python3-libvirt") from error
    is_read_only = call.verb == "monitor"
    backend = Virsh(call.config, call.site, call.deadline, call.log, is_read_only=is_read_only)
    return lifecycle.Run(call.config, backend, call.deadline, call.log)


def _find_packages() -> None:
    """Let the distribution's packages be imported.

    ``bin/`` runs Python with -S: it saves a monitor 4 ms, and no other package's .pth file runs.
    """
    if sys.flags.no_site:
        import site  # noqa: PLC0415

        sys.path.extend(path for path in site.getsitepackages() if path not in sys.path)


def _open(call: Call) -> int:
    """The configuration is sound; name what this agent accepts but does not do."""
    if call.config.ce_info.is_enabled:
        call.log.warning(
            "CEInfo.Enabled is 1, but a VCS inside the guest is not supervised by this agent"
        )
    return vcs.EXIT_DONE


def _forget(call: Call) -> int:
    """The resource leaves this agent, or its configuration changed: what was kept is stale."""
    call.memory.forget(call.config.resource)
    return vcs.EXIT_DONE


def _monitor(call: Call) -> int:
    verdict = lifecycle.monitor(_prepare(call))
    code = vcs.monitor_exit(verdict)
    _report(call, code, verdict.sentence, call.log.warning if verdict.is_problem else call.log.info)
    return code


def _online(call: Call) -> int:
    """VCS waits for the seconds of the exit value; what one byte cannot say is waited for here."""
    seconds = lifecycle.online(_prepare(call))
    call.deadline.sleep(max(0, seconds - vcs.MAX_EXIT_SECONDS))
    return min(seconds, vcs.MAX_EXIT_SECONDS)


def _offline(call: Call) -> int:
    lifecycle.offline(_prepare(call))
    return vcs.EXIT_DONE


def _clean(call: Call) -> int:
    call.log.info(f"clean is called: {vcs.CLEAN_REASONS.get(call.reason, 'no reason is given')}")
    return vcs.EXIT_DONE if lifecycle.clean(_prepare(call)) else vcs.EXIT_FAILED


def _migrate(call: Call) -> int:
    target = vcs.migration_target(call.config.others)
    if not target:
        names = ", ".join(call.config.others) or "none"
        call.log.error(f"not migrated: VCSInfo names no TargetHost (extra tuples: {names})")
        return vcs.EXIT_NOT_MIGRATED
    is_there = lifecycle.migrate(_prepare(call), target)
    return vcs.EXIT_DONE if is_there else vcs.EXIT_NOT_MIGRATED


_ACTS: Mapping[str, Callable[[Call], int]] = {
    "open": _open,
    "close": _forget,
    "attr_changed": _forget,
    "monitor": _monitor,
    "online": _online,
    "offline": _offline,
    "clean": _clean,
    "migrate": _migrate,
}


def _report(call: Call, code: int, sentence: str, say: Callable[[str], None]) -> None:
    """Log a verdict of monitor when it is news; numbers in it (seconds, pids) are no news."""
    name = call.config.resource
    verdict = f"{code} {''.join(c for c in sentence if not c.isdigit())}"
    if call.verb == "monitor" and call.memory.read(name) == verdict:
        call.log.show(sentence)
        return
    say(sentence)
    if call.verb == "monitor":
        call.memory.write(name, verdict)
