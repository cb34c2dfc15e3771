"""What each entry point does, over any backend: look, act, look again.

Nothing here knows libvirt, HTTP or an exit code. After every action, failed or not, the guest is
looked at again: the verdict comes from what is seen, never from what a command returned.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

from kvmguest.arglist import GuestConfig
from kvmguest.backend import Backend
from kvmguest.deadline import Deadline, call_within
from kvmguest.errors import BackendError, GuestNotFound, KvmGuestError, RunsElsewhere
from kvmguest.log import Log
from kvmguest.states import GONE, Condition, Verdict

SAVE_LIMIT_S = 15.0
DARK_WAIT_S = 30.0
"""How long online waits for a libvirtd or RHEV-M that is away."""
_UNSURE = frozenset({Condition.DARK, Condition.LEFTOVER})
_HAS_NO_CURRENT_CONFIGURATION = _UNSURE | {Condition.MIGRATED}
_PASSING = frozenset({Condition.STOPPING, Condition.LOCKED})
"""What online waits for: it ends by itself, and nothing can be started before."""


class Run(NamedTuple):
    """What one entry point works with."""

    config: GuestConfig
    backend: Backend
    deadline: Deadline
    log: Log


def monitor(run: Run) -> Verdict:
    """How the guest is."""
    return run.backend.look()


def online(run: Run) -> int:
    """Bring the guest up; return the seconds VCS shall wait before its first monitor.

    A guest on its way down is waited for, and for a moment a libvirtd or RHEV-M that is away: VCS
    and libvirtd start at the same time when a node boots. A failed start is logged and returns 0
    seconds: the monitor that follows tells VCS the truth.
    """
    seen = _wait_while(run, frozenset({Condition.DARK}), DARK_WAIT_S)
    if seen.condition in _PASSING:
        seen = _wait_while(run, _PASSING, run.deadline.remaining())
    if seen.condition in _PASSING:
        run.log.error(f"not started, the time is over; {seen.sentence}")
        return 0
    if seen.condition is Condition.RUNNING:
        run.log.info(f"{seen.sentence}. It runs already, nothing to do")
        return 0
    actions: dict[Condition, tuple[str, Callable[[], None]]] = {
        Condition.OFF: ("start", run.backend.start),
        Condition.SAVED: ("start", run.backend.start),
        Condition.MIGRATED: ("start", run.backend.start),
        Condition.ABSENT: ("start", run.backend.start),
        Condition.ELSEWHERE: ("start", run.backend.start),  # it may know that host to be dead
        Condition.PAUSED: ("resume", run.backend.resume),
        Condition.SLEEPING: ("wake up", run.backend.wake),
    }
    if seen.condition not in actions:
        run.log.error(f"{seen.sentence}. Not started from this state")
        return 0
    name, act = actions[seen.condition]
    complaint = _try(act)
    after = run.backend.look()
    if after.condition is not Condition.RUNNING:
        run.log.error(
            f"{run.config.guest}: {name} {complaint or 'had no effect'}; {after.sentence}"
        )
        return 0
    run.log.info(f"{name} done; {after.sentence}")
    if seen.condition is Condition.ABSENT:
        _save_configuration(run)
    return run.config.delay_after_online_s


def offline(run: Run) -> None:
    """Ask the guest to shut down and wait until it is down, at most DelayAfterGuestOffline.

    A guest that is still booting ignores the request, so it is made once more half-way. What
    remains running is VCS's to clean. Then the configuration goes to SyncDir.
    """
    _shut_down(run)
    _save_configuration(run)


def _shut_down(run: Run) -> None:
    # A libvirtd that restarts is waited for: VCS destroys what still runs when offline returns, and
    # where no process is left, a clean that cannot verify it may cost the whole node.
    seen = _wait_while(run, frozenset({Condition.DARK}), run.config.delay_after_offline_s)
    if seen.condition in GONE:
        run.log.info(f"{seen.sentence}. It does not run here, nothing to do")
        return
    if seen.condition in _UNSURE:
        run.log.error(f"{seen.sentence}. It cannot be asked to shut down")
        return
    if seen.condition is Condition.CRASHED:
        # monitor calls it OFFLINE, so no clean would follow and its process would keep the disks.
        _destroy(run)
        return
    wait_s = run.deadline.slice(run.config.delay_after_offline_s)
    for _ in range(2):
        if complaint := _ask_to_shut_down(run):
            run.log.warning(f"{run.config.guest}: {complaint}")
        if down := run.deadline.poll(lambda: _if_gone(run), wait_s / 2):
            run.log.info(f"shut down; {down.sentence}")
            return
    after = run.backend.look()
    run.log.warning(f"not down {wait_s:.0f} s after the first request; {after.sentence}")


def clean(run: Run, *, is_online_failed: bool = False) -> bool:
    """End the guest by force; True only when it is verifiably not running here.

    Then the configuration goes to SyncDir, but not after an online that failed: the guest comes
    from another node then, and what is defined here may be older than what is in SyncDir.
    """
    is_gone = _destroy(run)
    if not is_online_failed:
        _save_configuration(run)
    return is_gone


def _destroy(run: Run) -> bool:
    seen = run.backend.look()
    if seen.condition in _UNSURE:
        run.log.error(f"{seen.sentence}. Not cleaned, nothing can be verified")
        return False
    if seen.condition in GONE:
        run.log.info(f"{seen.sentence}. It does not run here, nothing to clean")
        return True
    complaint = _try(run.backend.destroy)
    gone = run.deadline.poll(lambda: _if_gone(run), run.deadline.remaining())
    if gone is None:
        why = complaint or "had no effect"
        run.log.error(f"{run.config.guest}: destroy {why}; {run.backend.look().sentence}")
        return False
    run.log.info(f"destroyed; {gone.sentence}")
    return True


def migrate(run: Run, target: str) -> bool:
    """Move the guest to another node, live; True only when it verifiably runs there."""
    seen = run.backend.look()
    if seen.condition is not Condition.RUNNING:
        run.log.error(f"not migrated to {target}: {seen.sentence}. Only a running guest can move")
        return False
    try:
        return run.backend.migrate(target)
    except BackendError as error:
        run.log.error(f"{run.config.guest}: not migrated to {target}: {error}")
        return False


def _save_configuration(run: Run) -> None:
    """Copy the configuration to SyncDir if this node has the current one.

    The verdict is known by now, and nothing here changes it: a failure is logged, and a SyncDir
    that hangs costs a part of what is left of the deadline, not more.
    """
    if not run.config.sync_dir or run.backend.look().condition in _HAS_NO_CURRENT_CONFIGURATION:
        return
    name = f"{run.config.guest}: saving its configuration to SyncDir"
    try:
        saved = call_within(run.deadline.slice(SAVE_LIMIT_S), name, run.backend.save_configuration)
    except GuestNotFound:
        return  # it was not known here before either, so there is nothing to be saved
    except BackendError as error:
        run.log.warning(f"{name} failed: {error}")
        return
    if saved:
        run.log.info(f"{run.config.guest}: {saved}")


def _ask_to_shut_down(run: Run) -> str:
    """One request, to a guest that can hear it: a paused or sleeping one is let go on first."""
    seen = run.backend.look()
    rouse = {
        Condition.PAUSED: run.backend.resume,
        Condition.STUCK: run.backend.resume,
        Condition.SLEEPING: run.backend.wake,
    }
    if seen.condition in rouse and (complaint := _try(rouse[seen.condition])):
        return complaint
    if seen.condition is Condition.STOPPING or seen.condition in GONE:
        return ""
    return _try(run.backend.shutdown)


def _try(act: Callable[[], None]) -> str:
    """Do it; what went wrong as a text, "" when nothing did."""
    try:
        act()
    except RunsElsewhere as error:
        return f"refused, it runs elsewhere or another host holds its disk: {error}"
    except KvmGuestError as error:
        return f"failed: {error}"
    return ""


def _wait_while(run: Run, conditions: frozenset[Condition], seconds: float) -> Verdict:
    """What is seen when the guest is in none of them any more, or the seconds are over."""
    seen = run.backend.look()

    def look() -> Verdict | None:
        nonlocal seen
        seen = run.backend.look()
        return None if seen.condition in conditions else seen

    if seen.condition in conditions:
        run.deadline.poll(look, seconds)
    return seen


def _if_gone(run: Run) -> Verdict | None:
    seen = run.backend.look()
    return seen if seen.condition in GONE else None
