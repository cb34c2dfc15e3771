"""Every executable starts here: arguments in, one sentence logged, exit code out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple

from kvmguest import arglist, lifecycle, options, vcs
from kvmguest.backend import Backend
from kvmguest.deadline import Deadline, call_within
from kvmguest.errors import ConfigError, KvmGuestError, OperationFailed, Silent
from kvmguest.log import Log
from kvmguest.statedir import MigratedMarker, StateDir

LAST_WORDS_S = 1.5
"""VCS's own logging helper may take 1 s of it."""


class Call(NamedTuple):
    """One call of an entry point. ``reason`` is clean's, or an action's token; "" elsewhere."""

    verb: str
    reason: str
    config: arglist.GuestConfig
    site: options.Options
    memory: StateDir
    env: Mapping[str, str]
    deadline: Deadline
    log: Log


def main(verb: str, *first: str) -> None:
    """Run one entry point and end the process; ``first`` goes before VCS's arguments.

    The work is done in a child, which ends within its own deadline unless the kernel does not let
    it; this process has a little longer, and ends in any case. monitor does without: a child costs
    2 ms, and it touches no disk but the system's own.
    """
    code = failed = vcs.ENTRY_POINTS[verb].failed
    try:
        arguments = [*first, *sys.argv[1:]]
        if verb == "monitor":
            code = run(verb, arguments, os.environ)
        else:
            from kvmguest import child  # noqa: PLC0415 - not for a monitor

            deadline = Deadline(vcs.time_limit(verb, arguments))
            seconds = deadline.limit_s - deadline.reserve_s / 4
            code = child.run(seconds, lambda: run(verb, arguments, os.environ), failed)
    finally:
        os._exit(code)


def run(verb: str, arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Run one entry point within its deadline and return its exit code."""
    resource, reason, tuples = vcs.split_arguments(verb, arguments)
    log = Log(resource, verb, env, os.path.abspath(sys.argv[0]))
    limit_s, failed = vcs.ENTRY_POINTS[verb]
    try:
        config = arglist.parse(resource, tuples, is_action=verb == "action")
        limit_s = config.aep_timeout_s or limit_s
        deadline = Deadline(limit_s)

        def work() -> int:
            site = options.load(env)
            memory = StateDir(site.vcs_state_dir)
            return _act(Call(verb, reason, config, site, memory, env, deadline, log))

        return call_within(deadline.remaining_hard(), verb, work)
    except Silent:
        why = f"{verb} gave up before its limit of {limit_s} s: a disk or a daemon hangs"
    except KvmGuestError as error:
        why = str(error)
    except Exception:  # noqa: BLE001 - the last resort: log what happened, tell VCS nothing false
        import traceback  # noqa: PLC0415

        why = f"{verb} failed by a fault of its own: {traceback.format_exc()}"
    with contextlib.suppress(Silent):  # syslog may be what hangs
        call_within(LAST_WORDS_S, "logging", lambda: log.error(why))
    if verb == "action":
        _print(why)
    return failed


def _act(call: Call) -> int:
    act = _ACTS[call.verb]
    complaints = (*call.config.complaints, *_rhev_complaints(call), *call.site.complaints)
    if complaints and act is not _forget:
        code = vcs.ENTRY_POINTS[call.verb].failed
        why = f"bad configuration: {'; '.join(complaints)}"
        _report(call, code, why, call.log.error)
        if call.verb == "action":
            _print(why)
        return code
    return act(call)


def _rhev_complaints(call: Call) -> list[str]:
    if not call.config.rhevm_info.is_enabled:
        return []
    from kvmguest.rhev import settings  # noqa: PLC0415 - not for plain KVM

    return settings.complaints(call.config.rhevm_info)


def _prepare(call: Call) -> lifecycle.Run:
    """RHEVMInfo.Enabled chooses the backend, which is imported only when it is used."""
    if call.config.rhevm_info.is_enabled:
        return lifecycle.Run(call.config, _rhev(call), call.deadline, call.log)
    _find_packages()
    try:
        from kvmguest.virsh import Virsh  # noqa: PLC0415
    except ImportError as error:
        raise OperationFailed(f"{error}: install the package python3-libvirt") from error
    is_read_only = call.verb == "monitor"
    backend = Virsh(
        call.config, call.site, call.deadline, call.log, call.env, is_read_only=is_read_only
    )
    return lifecycle.Run(call.config, backend, call.deadline, call.log)


def _find_packages() -> None:
    """Let the distribution's packages be imported.

    ``bin/`` runs Python with -S: it saves a monitor 4 ms, and no other package's .pth file runs.
    Red Hat's pip installs below /usr/local, which its isolated Python does not look into.
    """
    if sys.flags.no_site:
        import site  # noqa: PLC0415

        found = site.getsitepackages([*site.PREFIXES, "/usr/local"])
        sys.path.extend(path for path in found if path not in sys.path)


def _rhev(call: Call) -> Backend:
    _find_packages()
    try:
        from kvmguest.rhev.backend import Rhev  # noqa: PLC0415
    except ImportError as error:
        raise OperationFailed(f"{error}: install the package python3-lxml") from error
    is_read_only = call.verb == "monitor"
    site, memory = call.site, call.memory
    return Rhev(
        call.config, site, call.deadline, call.log, memory, call.env, is_read_only=is_read_only
    )


def _open(call: Call) -> int:
    """The arguments are sound; say early what would stop online, and what is accepted in vain."""
    try:
        _check_network(call)
    except ConfigError as error:
        call.log.error(f"bad configuration, online will not start the guest: {error}")
    if call.config.ce_info.is_enabled:
        call.log.warning(
            "CEInfo.Enabled is 1, but a VCS inside the guest is not supervised by this agent"
        )
    return vcs.EXIT_DONE


def _check_network(call: Call) -> None:
    if call.config.dr_opts["ConfigureNetwork"] in {"", "0"}:
        return
    from kvmguest import dr_iso, drnet  # noqa: PLC0415 - not for a monitor

    if call.config.rhevm_info.is_enabled:
        drnet.parse(call.config.dr_opts)
    else:
        _find_packages()
        dr_iso.network_iso(call.config.dr_opts)


def _forget(call: Call) -> int:
    """The resource leaves this agent, or its configuration changed: what was kept is stale."""
    name = call.config.resource
    for kept in (name, f"{name}.vm", f"{name}.host"):
        call.memory.forget(kept)
    call.memory.forget_all("rhev.refused.")  # an administrator may have unlocked the account
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
    is_gone = lifecycle.clean(_prepare(call), is_online_failed=call.reason in vcs.ONLINE_FAILED)
    return vcs.EXIT_DONE if is_gone else vcs.EXIT_FAILED


def _migrate(call: Call) -> int:
    target = vcs.migration_target(call.config.others)
    if not target:
        names = ", ".join(call.config.others) or "none"
        call.log.error(f"not migrated: VCSInfo names no TargetHost (extra tuples: {names})")
        return vcs.EXIT_NOT_MIGRATED
    is_there = lifecycle.migrate(_prepare(call), target)
    return vcs.EXIT_DONE if is_there else vcs.EXIT_NOT_MIGRATED


def _action(call: Call) -> int:
    """Its line goes to the log too: the one who asked is not the only one who wants to know."""
    from kvmguest import actions  # noqa: PLC0415 - rarely needed

    token, config = call.reason, call.config
    if token not in actions.ACTIONS:
        _print(f"{token or 'no token'}: the actions are {', '.join(actions.ACTIONS)}")
        return vcs.EXIT_FAILED
    # DevScan and a guest of RHEV-M need no backend, so it is made only when it is asked for.
    order = actions.Order(
        config,
        vcs.action_arguments(config.others),
        MigratedMarker(call.memory, config.resource, config.guest),
        call.deadline,
        lambda: _prepare(call).backend,
    )
    outcome = actions.ACTIONS[token](order)
    (call.log.info if outcome.is_done else call.log.warning)(f"{token}: {outcome.line}")
    _print(outcome.line)
    return vcs.EXIT_DONE if outcome.is_done else vcs.EXIT_FAILED


def _print(text: str) -> None:
    """An action's answer: VCS hands what is on stdout to the one who asked."""
    sys.stdout.buffer.write(vcs.action_output(text))
    sys.stdout.buffer.flush()


_ACTS: Mapping[str, Callable[[Call], int]] = {
    "open": _open,
    "close": _forget,
    "attr_changed": _forget,
    "monitor": _monitor,
    "online": _online,
    "offline": _offline,
    "clean": _clean,
    "migrate": _migrate,
    "action": _action,
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
