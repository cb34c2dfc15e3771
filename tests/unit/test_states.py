"""The libvirt table of the README, row by row, and what no table row may ever do."""

from __future__ import annotations

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmguest import states
from kvmguest.states import Condition, LibvirtSeen, State, judge_libvirt, libvirt_words
from kvmguest.vcs import monitor_exit

# Every row by hand, not from the table under test: state, reason -> exit code of monitor.
EXIT_CODES = {
    ("no state", "unknown"): 99,
    ("running", "unknown"): 110,
    ("running", "booted"): 110,
    ("running", "migrated"): 110,
    ("running", "restored"): 110,
    ("running", "from snapshot"): 110,
    ("running", "unpaused"): 110,
    ("running", "migration canceled"): 110,
    ("running", "save canceled"): 110,
    ("running", "event wakeup"): 110,
    ("running", "crashed"): 110,
    ("running", "post-copy"): 110,
    ("running", "post-copy failed"): 102,
    ("idle", "unknown"): 110,
    ("paused", "unknown"): 102,
    ("paused", "user"): 200,
    ("paused", "migrating"): 200,
    ("paused", "saving"): 200,
    ("paused", "dumping"): 102,
    ("paused", "I/O error"): 102,
    ("paused", "watchdog"): 102,
    ("paused", "from snapshot"): 200,
    ("paused", "shutting down"): 104,
    ("paused", "creating snapshot"): 102,
    ("paused", "crashed"): 100,
    ("paused", "starting up"): 99,
    ("paused", "post-copy"): 200,
    ("paused", "post-copy failed"): 99,
    ("paused", "api error"): 102,
    ("in shutdown", "unknown"): 104,
    ("in shutdown", "user"): 104,
    ("shut off", "unknown"): 100,
    ("shut off", "shutdown"): 100,
    ("shut off", "destroyed"): 100,
    ("shut off", "crashed"): 100,
    ("shut off", "migrated"): 200,
    ("shut off", "saved"): 200,
    ("shut off", "failed"): 100,
    ("shut off", "from snapshot"): 100,
    ("shut off", "daemon"): 100,
    ("crashed", "unknown"): 100,
    ("crashed", "panicked"): 100,
    ("pmsuspended", "unknown"): 200,
    ("not defined", ""): 100,
    ("not defined", "marked as migrated"): 200,
    ("no connection", "its QEMU process is alive"): 105,
    ("no connection", "no process of it"): 99,
    ("no connection", "its QEMU process came by live migration"): 99,
    ("no connection", "its QEMU process is in a live migration"): 99,
    ("no answer", ""): 99,
    ("error", ""): 99,
}
PANICKED = {("paused", "crashed"), ("crashed", "unknown"), ("crashed", "panicked")}

# libvirt's names of its own numbers -> virsh's words for them.
STATE_NAMES = {
    "NOSTATE": "no state",
    "RUNNING": "running",
    "BLOCKED": "idle",
    "PAUSED": "paused",
    "SHUTDOWN": "in shutdown",
    "SHUTOFF": "shut off",
    "CRASHED": "crashed",
    "PMSUSPENDED": "pmsuspended",
}
REASON_NAMES = {
    "NOSTATE_UNKNOWN": "unknown",
    "RUNNING_UNKNOWN": "unknown",
    "RUNNING_BOOTED": "booted",
    "RUNNING_MIGRATED": "migrated",
    "RUNNING_RESTORED": "restored",
    "RUNNING_FROM_SNAPSHOT": "from snapshot",
    "RUNNING_UNPAUSED": "unpaused",
    "RUNNING_MIGRATION_CANCELED": "migration canceled",
    "RUNNING_SAVE_CANCELED": "save canceled",
    "RUNNING_WAKEUP": "event wakeup",
    "RUNNING_CRASHED": "crashed",
    "RUNNING_POSTCOPY": "post-copy",
    "RUNNING_POSTCOPY_FAILED": "post-copy failed",
    "BLOCKED_UNKNOWN": "unknown",
    "PAUSED_UNKNOWN": "unknown",
    "PAUSED_USER": "user",
    "PAUSED_MIGRATION": "migrating",
    "PAUSED_SAVE": "saving",
    "PAUSED_DUMP": "dumping",
    "PAUSED_IOERROR": "I/O error",
    "PAUSED_WATCHDOG": "watchdog",
    "PAUSED_FROM_SNAPSHOT": "from snapshot",
    "PAUSED_SHUTTING_DOWN": "shutting down",
    "PAUSED_SNAPSHOT": "creating snapshot",
    "PAUSED_CRASHED": "crashed",
    "PAUSED_STARTING_UP": "starting up",
    "PAUSED_POSTCOPY": "post-copy",
    "PAUSED_POSTCOPY_FAILED": "post-copy failed",
    "PAUSED_API_ERROR": "api error",
    "SHUTDOWN_UNKNOWN": "unknown",
    "SHUTDOWN_USER": "user",
    "SHUTOFF_UNKNOWN": "unknown",
    "SHUTOFF_SHUTDOWN": "shutdown",
    "SHUTOFF_DESTROYED": "destroyed",
    "SHUTOFF_CRASHED": "crashed",
    "SHUTOFF_MIGRATED": "migrated",
    "SHUTOFF_SAVED": "saved",
    "SHUTOFF_FAILED": "failed",
    "SHUTOFF_FROM_SNAPSHOT": "from snapshot",
    "SHUTOFF_DAEMON": "daemon",
    "CRASHED_UNKNOWN": "unknown",
    "CRASHED_PANICKED": "panicked",
    "PMSUSPENDED_UNKNOWN": "unknown",
}
# Flags of virDomainShutdown, and a reason of a state that libvirt does not have (yet).
NO_REASONS = (
    *("SHUTDOWN_DEFAULT", "SHUTDOWN_ACPI", "SHUTDOWN_GUEST", "SHUTDOWN_INITCTL"),
    *("SHUTDOWN_SIGNAL", "SHUTDOWN_PARAVIRT", "PMSUSPENDED_DISK"),
)


def _constants() -> dict[str, int]:
    """The installed module's virDomainState and virDomain*Reason constants, by short name."""
    prefix = "VIR_DOMAIN_"
    found = {}
    for name in dir(libvirt):
        short = name[len(prefix) :]
        state = short.split("_")[0]
        is_other = short.startswith(NO_REASONS)
        if name.startswith(prefix) and state in STATE_NAMES and not is_other:
            found[short] = getattr(libvirt, name)
    return found


def exit_code(seen: LibvirtSeen) -> int:
    return monitor_exit(judge_libvirt(seen))


@pytest.mark.parametrize(("pair", "code"), EXIT_CODES.items(), ids=str)
def test_row(pair: tuple[str, str], code: int) -> None:
    assert exit_code(LibvirtSeen("web", *pair)) == code


def test_no_row_is_missing_and_none_is_invented() -> None:
    rows = {pair for pair, code in EXIT_CODES.items() if pair in states.LIBVIRT_TABLE}
    assert rows == set(states.LIBVIRT_TABLE)
    unlisted = set(EXIT_CODES) - rows
    assert {EXIT_CODES[pair] for pair in unlisted} == {99}


@pytest.mark.parametrize("name", sorted(_constants()))
def test_a_constant_of_the_installed_libvirt_has_its_word(name: str) -> None:
    if name in STATE_NAMES:
        assert libvirt_words(_constants()[name], 0)[0] == STATE_NAMES[name]
    else:
        state = _constants()[name.partition("_")[0]]
        assert libvirt_words(state, _constants()[name])[1] == REASON_NAMES[name]


def test_the_constants_are_all_there() -> None:
    """The test above would pass with none."""
    newer_than_libvirt_9_0 = {"PAUSED_API_ERROR"}
    assert {*STATE_NAMES, *REASON_NAMES} - set(_constants()) <= newer_than_libvirt_9_0


@pytest.mark.parametrize("state", range(len(states.LIBVIRT_STATES)))
@pytest.mark.parametrize("reason", [-1, 15, 99, 2**31 - 1])
def test_a_reason_of_a_newer_libvirt_is_unknown(state: int, reason: int) -> None:
    assert exit_code(LibvirtSeen("web", *libvirt_words(state, reason))) == 99


@pytest.mark.parametrize("state", [-1, 8, 99, 2**31 - 1])
def test_a_state_of_a_newer_libvirt_is_unknown(state: int) -> None:
    for reason in range(20):
        verdict = judge_libvirt(LibvirtSeen("web", *libvirt_words(state, reason)))
        assert verdict.state is State.UNKNOWN
        assert str(state) in verdict.sentence


@pytest.mark.parametrize(
    ("control", "seconds", "code"),
    [
        ("ok", 0, 110),
        ("ok", 9999, 110),  # the time says since when, and ok is ok
        ("occupied", 9.9, 110),
        ("occupied", 10, 103),
        ("occupied", 4711, 103),
        ("error", 0, 103),
        ("background job", 4711, 110),  # a migration, not a silence
        ("control 9", 4711, 110),
    ],
)
def test_qemu_does_not_answer(control: str, seconds: float, code: int) -> None:
    assert exit_code(LibvirtSeen("web", "running", "booted", control, seconds)) == code


def test_a_silent_qemu_does_not_better_a_worse_row() -> None:
    assert exit_code(LibvirtSeen("web", "running", "post-copy failed", "occupied", 60)) == 102


@pytest.mark.parametrize("reason", ["shutdown", "crashed", "destroyed", "saved", "daemon"])
def test_a_managed_save_image_is_intentional(reason: str) -> None:
    assert exit_code(LibvirtSeen("web", "shut off", reason, has_managed_save=True)) == 200


def test_a_managed_save_image_of_a_running_guest_changes_nothing() -> None:
    assert exit_code(LibvirtSeen("web", "running", "booted", has_managed_save=True)) == 110


@pytest.mark.parametrize("has_managed_save", [True, False])
@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("not defined", ""),
        ("not defined", "marked as migrated"),
        ("shut off", "shutdown"),
        ("shut off", "saved"),
        ("shut off", "migrated"),
    ],
)
def test_called_off_with_its_process_alive_is_unknown(
    state: str, reason: str, has_managed_save: bool
) -> None:
    seen = LibvirtSeen("web", state, reason, has_managed_save=has_managed_save, qemu_pid=4711)
    verdict = judge_libvirt(seen)
    assert verdict.condition is Condition.LEFTOVER
    assert monitor_exit(verdict) == 99
    assert "4711" in verdict.sentence


def test_the_sentence_says_what_was_asked_seen_and_concluded() -> None:
    sentence = judge_libvirt(LibvirtSeen("web", "paused", "I/O error")).sentence
    assert sentence == (
        "web: libvirt: paused (I/O error): ONLINE, confidence 20;"
        " mend the guest's storage, then virsh resume"
    )


@pytest.mark.parametrize("pair", states.LIBVIRT_TABLE, ids=" ".join)
def test_a_sentence_names_guest_state_and_answer(pair: tuple[str, str]) -> None:
    verdict = judge_libvirt(LibvirtSeen("web", *pair))
    assert verdict.sentence.startswith(f"web: libvirt: {pair[0]}")
    assert verdict.state.value in verdict.sentence
    assert "\n" not in verdict.sentence


def test_every_problem_says_what_to_do() -> None:
    rows = [
        *states.LIBVIRT_TABLE.values(),
        states.UNLISTED,
        states.QEMU_SILENT,
        states.LEFTOVER,
    ]
    assert [row for row in rows if row.is_problem and not row.advice] == []


WORDS = st.one_of(st.sampled_from([word for pair in EXIT_CODES for word in pair]), st.text())
SEEN = st.builds(
    LibvirtSeen,
    guest=st.just("web"),
    state=WORDS,
    reason=WORDS,
    control=st.one_of(st.sampled_from(["ok", "background job", "occupied", "error"]), st.text()),
    control_s=st.floats(min_value=0, allow_nan=False),
    has_managed_save=st.booleans(),
    qemu_pid=st.one_of(st.none(), st.integers(min_value=1)),
    detail=st.text(),
)
DARK = {"no connection", "no answer", "error"}


@given(SEEN)
def test_nothing_is_offline_without_libvirts_word(seen: LibvirtSeen) -> None:
    verdict = judge_libvirt(seen)
    code = monitor_exit(verdict)
    assert code in {99, 100, *range(101, 111), 200}
    pair = (seen.state, seen.reason)
    if code == 100:
        assert seen.state in {"shut off", "not defined"} or pair in PANICKED
        assert seen.qemu_pid is None or pair in PANICKED
    if code == 200:
        assert seen.state in {"shut off", "not defined", "paused", "pmsuspended"}
        assert seen.qemu_pid is None or seen.state in {"paused", "pmsuspended"}
    if seen.state in DARK:
        assert code in {99, 105}


@given(state=st.integers(-(2**31), 2**31 - 1), reason=st.integers(-(2**31), 2**31 - 1))
def test_no_number_breaks_the_tables(state: int, reason: int) -> None:
    pair = libvirt_words(state, reason)
    assert exit_code(LibvirtSeen("web", *pair)) == EXIT_CODES.get(pair, 99)
