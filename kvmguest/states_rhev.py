"""RHEV-M's word about a VM, and what it means on this host: tables as data, and a pure judge.

RHEV-M sees every host, so a VM's status alone would make all nodes say ONLINE. The answer is
looked up by status and place. The statuses and the verdicts of the first thirteen are the vendor's
(About the KVMGuest agent); ``<host>`` of the VM gives the place.
"""

from __future__ import annotations

from typing import NamedTuple

from kvmguest.states import Condition, Row, State, Verdict, conclude

HERE = "here"
ELSEWHERE = "elsewhere"
NOWHERE = "nowhere"
"""RHEV-M shows no host, or one that makes no difference to the verdict on this status."""
UNSURE = "unsure"
"""RHEV-M shows a host, but which one this host is there cannot be told."""
PLACES = (HERE, ELSEWHERE, NOWHERE, UNSURE)

PAUSED_BY_ERROR = "paused by an error"
PAUSED_IN_POSTCOPY = "paused in post-copy"
_ERROR_DETAILS = frozenset({"eother", "eio", "enospc", "eperm"})

_ONLINE, _OFFLINE = State.ONLINE, State.OFFLINE
_INTENTIONAL, _UNKNOWN = State.INTENTIONAL_OFFLINE, State.UNKNOWN

_RUNS_ELSEWHERE = Row(_INTENTIONAL, 0, Condition.ELSEWHERE)
_HELD_ELSEWHERE = Row(
    _OFFLINE,
    0,
    Condition.ELSEWHERE,
    True,
    "not here; before it can start here that host must answer or be fenced in RHEV-M",
)
_HIDDEN = Row(
    _UNKNOWN,
    0,
    Condition.DARK,
    True,
    "the RHEV-M user may not see hosts: give it the role ClusterAdmin on the cluster",
)
_NOT_IDENTIFIED = Row(
    _UNKNOWN,
    0,
    Condition.DARK,
    True,
    "see that this node is a host of RHEVMInfo.Cluster, or name it in [hosts] of kvmguest.conf",
)
_LOST = Row(
    _UNKNOWN, 0, Condition.STRANGE, True, "RHEV-M lost its host: see the host's state in RHEV-M"
)
_SILENT_GUEST = Row(
    _UNKNOWN, 0, Condition.STRANGE, True, "its QEMU does not answer: see vdsm.log on its host"
)
UNLISTED = Row(_UNKNOWN, 0, Condition.STRANGE, True, "look at the VM and its events in RHEV-M")
DARK = Row(_UNKNOWN, 0, Condition.DARK, True)
"""RHEV-M gave no word at all; the error says why, and the next step."""

# (statuses, places, row). What is not listed, however new, is UNLISTED.
_RUNNING = (
    "wait_for_launch",
    "powering_up",
    "up",
    "powering_down",
    "paused",
    PAUSED_BY_ERROR,
    PAUSED_IN_POSTCOPY,
    "restoring_state",
    "saving_state",
    "reboot_in_progress",
)
_ROWS: tuple[tuple[tuple[str, ...], tuple[str, ...], Row], ...] = (
    (("wait_for_launch",), (HERE,), Row(_ONLINE, 10, Condition.RUNNING)),
    (("powering_up",), (HERE,), Row(_ONLINE, 60, Condition.RUNNING)),
    (("up",), (HERE,), Row(_ONLINE, 100, Condition.RUNNING)),
    (("powering_down",), (HERE,), Row(_ONLINE, 40, Condition.STOPPING)),
    (("paused",), (HERE,), Row(_ONLINE, 20, Condition.PAUSED)),
    (
        (PAUSED_BY_ERROR,),
        (HERE,),
        Row(_ONLINE, 20, Condition.STUCK, True, "mend the guest's storage, then run it in RHEV-M"),
    ),
    ((PAUSED_IN_POSTCOPY,), (HERE,), Row(_ONLINE, 20, Condition.BUSY)),
    (("restoring_state",), (HERE,), Row(_ONLINE, 50, Condition.RUNNING)),
    (("saving_state",), (HERE,), Row(_INTENTIONAL, 0, Condition.BUSY)),
    (("reboot_in_progress",), (HERE,), Row(_INTENTIONAL, 0, Condition.RUNNING)),
    (_RUNNING, (ELSEWHERE,), _RUNS_ELSEWHERE),
    (_RUNNING, (NOWHERE,), _HIDDEN),
    (_RUNNING, (UNSURE,), _NOT_IDENTIFIED),
    (("migrating",), (HERE, NOWHERE, UNSURE), Row(_INTENTIONAL, 0, Condition.BUSY)),
    (("migrating",), (ELSEWHERE,), _RUNS_ELSEWHERE),
    (("down",), PLACES, Row(_OFFLINE, 0, Condition.OFF)),
    (("suspended",), PLACES, Row(_INTENTIONAL, 0, Condition.SAVED)),
    (
        ("image_locked",),
        PLACES,
        Row(_UNKNOWN, 0, Condition.LOCKED, True, "RHEV-M works on its disks: wait, or see its log"),
    ),
    (("unknown",), (HERE, NOWHERE), _LOST),
    (("not_responding",), (HERE, NOWHERE), _SILENT_GUEST),
    (("unknown", "not_responding"), (ELSEWHERE,), _HELD_ELSEWHERE),
    (("unknown", "not_responding"), (UNSURE,), _NOT_IDENTIFIED),
)
RHEV_TABLE = {
    (status, place): row
    for statuses, places, row in _ROWS
    for status in statuses
    for place in places
}


class RhevSeen(NamedTuple):
    """What RHEV-M said of one VM.

    ``status`` is its word ("up"), "" when it gave none; ``detail`` its status_detail ("eio", ...).
    ``place`` is one of PLACES; ``host`` the name of the VM's host, "" when none is shown; ``why``
    tells what kept this host from being identified.
    """

    guest: str
    status: str
    detail: str
    place: str
    host: str = ""
    why: str = ""


def kind(status: str, detail: str) -> str:
    """The status as the table has it: a pause is told apart by its detail."""
    if status == "paused" and detail in _ERROR_DETAILS:
        return PAUSED_BY_ERROR
    if status == "paused" and detail == "postcopy":
        return PAUSED_IN_POSTCOPY
    return status


def depends_on_host(status: str, detail: str) -> bool:
    """Whether the verdict on a VM with a host is open until that host is known."""
    rows = {RHEV_TABLE.get((kind(status, detail), place), UNLISTED) for place in PLACES}
    return len(rows) > 1


def judge_rhev(seen: RhevSeen) -> Verdict:
    """The verdict of section 5's two RHEV-M tables."""
    row = RHEV_TABLE.get((kind(seen.status, seen.detail), seen.place), UNLISTED)
    words = f"RHEV-M: {seen.status or 'no status'}" + (f" ({seen.detail})" if seen.detail else "")
    if seen.place != NOWHERE:
        words += {
            HERE: f" on this host ({seen.host})",
            ELSEWHERE: f" on {seen.host}",
            UNSURE: f" on {seen.host}, but {seen.why}",
        }[seen.place]
    elif row in {_HIDDEN, _LOST, _SILENT_GUEST}:
        words += ", but no host is shown"
    return conclude(seen.guest, words, row)
