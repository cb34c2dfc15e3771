"""What was seen, and what it means: tables as data, and pure functions over them.

The tables are the whole policy of ``monitor``. They import neither libvirt nor HTTP, so they can
be read, tested and printed (README) on any machine.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class State(enum.Enum):
    """The resource states of VCS that an agent can report."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    INTENTIONAL_OFFLINE = "INTENTIONAL OFFLINE"
    UNKNOWN = "UNKNOWN"


class Condition(enum.Enum):
    """What the entry points need to know of a guest, whichever hypervisor it lives on."""

    RUNNING = "running"
    STOPPING = "on its way down"
    PAUSED = "paused by an administrator"
    SLEEPING = "suspended to RAM by itself or an administrator"
    BUSY = "being saved or migrated"
    STUCK = "paused by an error"
    CRASHED = "panicked, its process still here"
    SAVED = "saved to disk"
    MIGRATED = "moved to another host"
    ELSEWHERE = "on another host, says the manager of all hosts"
    LOCKED = "not running, its disks locked by the manager for a while"
    OFF = "shut off"
    ABSENT = "not defined here"
    LEFTOVER = "called off, but its process is still here"
    STRANGE = "in a state that is not understood"
    DARK = "not to be seen: nobody answers"


GONE = frozenset(
    {
        Condition.SAVED,
        Condition.MIGRATED,
        Condition.ELSEWHERE,
        Condition.OFF,
        Condition.ABSENT,
    }
)
"""Conditions in which the guest certainly does not run here."""


class Verdict(NamedTuple):
    """The answer of monitor; ``confidence`` is in percent and only means something when ONLINE."""

    state: State
    confidence: int
    condition: Condition
    is_problem: bool
    sentence: str


class Row(NamedTuple):
    """One row of a verdict table; ``advice`` tells an administrator the next step."""

    state: State
    confidence: int
    condition: Condition
    is_problem: bool = False
    advice: str = ""


# libvirt's numbers (virDomainState and the virDomain*Reason enums, libvirt 9.0), in virsh's words.
LIBVIRT_STATES = (
    "no state",
    "running",
    "idle",
    "paused",
    "in shutdown",
    "shut off",
    "crashed",
    "pmsuspended",
)
LIBVIRT_REASONS = {
    "no state": ("unknown",),
    "running": (
        "unknown",
        "booted",
        "migrated",
        "restored",
        "from snapshot",
        "unpaused",
        "migration canceled",
        "save canceled",
        "event wakeup",
        "crashed",
        "post-copy",
        "post-copy failed",
    ),
    "idle": ("unknown",),
    "paused": (
        "unknown",
        "user",
        "migrating",
        "saving",
        "dumping",
        "I/O error",
        "watchdog",
        "from snapshot",
        "shutting down",
        "creating snapshot",
        "crashed",
        "starting up",
        "post-copy",
        "post-copy failed",
        "api error",
    ),
    "in shutdown": ("unknown", "user"),
    "shut off": (
        "unknown",
        "shutdown",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from snapshot",
        "daemon",
    ),
    "crashed": ("unknown", "panicked"),
    "pmsuspended": ("unknown",),
}

_ONLINE, _OFFLINE = State.ONLINE, State.OFFLINE
_INTENTIONAL, _UNKNOWN = State.INTENTIONAL_OFFLINE, State.UNKNOWN

_UP = Row(_ONLINE, 100, Condition.RUNNING)
_DOWN = Row(_OFFLINE, 0, Condition.OFF)
_HALF = Row(_ONLINE, 20, Condition.STUCK)

# (state, reasons): row. A pair that is not listed, however new, is UNLISTED.
_LIBVIRT_ROWS: tuple[tuple[str, tuple[str, ...], Row], ...] = (
    ("running", LIBVIRT_REASONS["running"][:-1], _UP),
    (
        "running",
        ("post-copy failed",),
        _HALF._replace(
            is_problem=True,
            advice="the post-copy migration broke: see virsh domjobinfo, resume or destroy it",
        ),
    ),
    ("idle", ("unknown",), _UP),
    ("in shutdown", ("unknown", "user"), Row(_ONLINE, 40, Condition.STOPPING)),
    ("paused", ("shutting down",), Row(_ONLINE, 40, Condition.STOPPING)),
    ("paused", ("user", "from snapshot"), Row(_INTENTIONAL, 0, Condition.PAUSED)),
    ("paused", ("saving", "migrating", "post-copy"), Row(_INTENTIONAL, 0, Condition.BUSY)),
    ("pmsuspended", ("unknown",), Row(_INTENTIONAL, 0, Condition.SLEEPING)),
    (
        "paused",
        ("I/O error",),
        _HALF._replace(is_problem=True, advice="mend the guest's storage, then virsh resume"),
    ),
    (
        "paused",
        ("watchdog", "api error"),
        _HALF._replace(is_problem=True, advice="look into the guest, then virsh resume or reset"),
    ),
    ("paused", ("unknown", "dumping", "creating snapshot"), _HALF),
    (
        "paused",
        ("crashed",),
        Row(_OFFLINE, 0, Condition.CRASHED, True, "the guest panicked; clean removes its process"),
    ),
    (
        "crashed",
        ("unknown", "panicked"),
        Row(_OFFLINE, 0, Condition.CRASHED, True, "the guest panicked; clean removes its process"),
    ),
    ("shut off", ("migrated",), Row(_INTENTIONAL, 0, Condition.MIGRATED)),
    ("shut off", ("saved",), Row(_INTENTIONAL, 0, Condition.SAVED)),
    (
        "shut off",
        ("unknown", "shutdown", "destroyed", "crashed", "failed", "from snapshot", "daemon"),
        _DOWN,
    ),
    ("not defined", ("",), Row(_OFFLINE, 0, Condition.ABSENT)),
    ("not defined", ("marked as migrated",), Row(_INTENTIONAL, 0, Condition.ABSENT)),
    (
        "no connection",
        ("its QEMU process is alive",),
        Row(_ONLINE, 50, Condition.DARK, True, "start libvirtd (or virtqemud) on this node"),
    ),
    (
        "no connection",
        (
            "no process of it",
            "its QEMU process came by live migration",
            "its QEMU process is in a live migration",
        ),
        Row(_UNKNOWN, 0, Condition.DARK, True, "start libvirtd (or virtqemud) on this node"),
    ),
    (
        "no answer",
        ("",),
        Row(_UNKNOWN, 0, Condition.DARK, True, "libvirtd is busy or hangs: see its log"),
    ),
    ("error", ("",), Row(_UNKNOWN, 0, Condition.DARK, True, "see the message of libvirt")),
)
LIBVIRT_TABLE = {
    (state, reason): row for state, reasons, row in _LIBVIRT_ROWS for reason in reasons
}
UNLISTED = Row(
    _UNKNOWN, 0, Condition.STRANGE, True, "look at the guest with virsh domstate --reason"
)
QEMU_SILENT = Row(
    _ONLINE, 30, Condition.RUNNING, True, "QEMU may hang: see virsh domcontrol and the host's load"
)
LEFTOVER = Row(
    _UNKNOWN,
    0,
    Condition.LEFTOVER,
    True,
    "the guest may still write to its disks; look at the process before anything starts elsewhere",
)
QEMU_SILENT_S = 10.0


class LibvirtSeen(NamedTuple):
    """What one look at a libvirt host showed.

    ``state`` and ``reason`` are virsh's words, or what ``virsh`` (the backend) puts in their place
    when libvirt gave none. ``control`` is virsh domcontrol's word ("ok", "background job",
    "occupied", "error") and ``control_s`` how long it has been so. ``qemu_pid`` is a QEMU process
    with exactly this guest's name, looked for only where the state says that there is none.
    """

    guest: str
    state: str
    reason: str
    control: str = "ok"
    control_s: float = 0.0
    has_managed_save: bool = False
    qemu_pid: int | None = None
    detail: str = ""


def libvirt_words(state: int, reason: int) -> tuple[str, str]:
    """Numbers of virDomainGetState as virsh's words; numbers of a newer libvirt stay numbers."""
    if not 0 <= state < len(LIBVIRT_STATES):
        return f"state {state}", f"reason {reason}"
    name = LIBVIRT_STATES[state]
    reasons = LIBVIRT_REASONS[name]
    return name, reasons[reason] if 0 <= reason < len(reasons) else f"reason {reason}"


def judge_libvirt(seen: LibvirtSeen) -> Verdict:
    """The verdict of section 5's libvirt table, with the evidence that can overrule a row."""
    row = LIBVIRT_TABLE.get((seen.state, seen.reason), UNLISTED)
    words = f"libvirt: {seen.state}" + (f" ({seen.reason})" if seen.reason else "")
    if row.condition is Condition.RUNNING and _is_qemu_silent(seen):
        row = QEMU_SILENT
        words += f", but its control interface is {seen.control} for {seen.control_s:.0f} s"
    if row.condition in GONE and seen.has_managed_save:
        row = LIBVIRT_TABLE["shut off", "saved"]
        words += " with a managed save image"
    if row.condition in GONE and seen.qemu_pid is not None:
        row = LEFTOVER
        words += f", but its QEMU process {seen.qemu_pid} is still here"
    if seen.detail:
        words += f": {seen.detail}"
    return conclude(seen.guest, words, row)


def _is_qemu_silent(seen: LibvirtSeen) -> bool:
    # "background job" is a migration or a backup at work, not a QEMU that does not answer.
    # libvirt gives no time with "error": the monitor connection is broken for good.
    long_enough = seen.control_s >= QEMU_SILENT_S or seen.control == "error"
    return seen.control in {"occupied", "error"} and long_enough


def conclude(guest: str, words: str, row: Row) -> Verdict:
    """Put row and evidence into one sentence; the same one goes to log, shell and tests."""
    answer = row.state.value
    if row.state is State.ONLINE:
        answer += f", confidence {row.confidence}"
    sentence = f"{guest}: {words}: {answer}" + (f"; {row.advice}" if row.advice else "")
    return Verdict(row.state, row.confidence, row.condition, row.is_problem, sentence)
