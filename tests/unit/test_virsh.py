"""The KVM backend over libvirt's own test driver, and over a libvirt that fails in known ways."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, cast

import libvirt
import pytest

from kvmguest import arglist, elsewhere, errors, options, virsh
from kvmguest.deadline import Deadline
from kvmguest.log import Log
from kvmguest.process_table import Qemu
from kvmguest.saved_memory import SLACK_S
from kvmguest.states import Condition
from kvmguest.virsh import Virsh

URI = "test:///default"
GUEST = "unit guest, 1"
DOCUMENT = f"""<domain type='test'><name>{GUEST}</name><memory>1024</memory>
<os><type>hvm</type></os></domain>"""


def make(
    guest: str = GUEST, *, uri: str = URI, limit_s: float = 60, probe: bool = False, file: str = ""
) -> Virsh:
    config = arglist.parse("res", ["GuestName", "1", guest, "GuestConfigFilePath", "1", file])
    site = options.Options(libvirt_uri=uri, libvirt_probe=probe)
    log = Log("res", "monitor", {"VCS_HOME": "/nonexistent"}, "/x/monitor")
    return Virsh(config, site, Deadline(limit_s), log, {})


@pytest.fixture
def domain() -> Iterator[libvirt.virDomain]:
    """A shut off guest in the test driver, which lives as long as one connection is open."""
    connection = libvirt.open(URI)
    made = connection.defineXML(DOCUMENT)
    yield made
    if made.state()[0] != libvirt.VIR_DOMAIN_SHUTOFF:
        made.destroy()
    made.undefine()


@pytest.mark.usefixtures("domain")
def test_the_whole_life_of_a_guest() -> None:
    backend = make()
    assert backend.look().condition is Condition.OFF
    backend.start()
    assert backend.look().condition is Condition.RUNNING
    backend.shutdown()
    assert backend.look().sentence.startswith(f"{GUEST}: libvirt: shut off (shutdown)")
    backend.start()
    backend.destroy()
    assert backend.look().sentence.startswith(f"{GUEST}: libvirt: shut off (destroyed)")


def test_pause_and_resume(domain: libvirt.virDomain) -> None:
    backend = make()
    backend.start()
    domain.suspend()
    assert backend.look().condition is Condition.PAUSED
    backend.resume()
    assert backend.look().condition is Condition.RUNNING


@pytest.mark.parametrize(
    ("later_s", "is_stale"), [(-60, False), (SLACK_S - 1, False), (SLACK_S + 1, True)]
)
@pytest.mark.parametrize("act", ["resume", "wake"])
def test_a_paused_guest_does_not_go_on_over_a_disk_that_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, later_s: float, is_stale: bool, act: str
) -> None:
    """It was paused here, run on another node by the cluster, and is to come back."""
    disk, record = tmp_path / "disk", tmp_path / f"{GUEST}.xml"
    for path, at in ((disk, 1_700_000_000 + later_s), (record, 1_700_000_000)):
        path.write_bytes(b"")
        os.utime(path, (at, at))
    monkeypatch.setattr(elsewhere, "LIBVIRT_STATUS", str(tmp_path))
    disk_xml = f"<disk type='file'><source file='{disk}'/><target dev='vda'/></disk>"
    document = DOCUMENT.replace("</domain>", f"<devices>{disk_xml}</devices></domain>")
    connection = libvirt.open(URI)
    domain = connection.defineXML(document)
    try:
        backend = make()
        backend.start()
        domain.suspend()
        if is_stale:
            with pytest.raises(errors.OperationFailed, match=f"{disk} was written to after"):
                getattr(backend, act)()
            assert backend.look().condition is Condition.PAUSED
        elif act == "resume":
            backend.resume()
            assert backend.look().condition is Condition.RUNNING
        else:
            with pytest.raises(errors.OperationFailed, match="dompmwakeup"):  # not in this driver
                backend.wake()
    finally:
        domain.destroy()
        domain.undefine()


def test_a_managed_save_is_seen_and_started_from(domain: libvirt.virDomain) -> None:
    backend = make()
    backend.start()
    domain.managedSave()
    assert backend.look().condition is Condition.SAVED
    backend.start()
    assert backend.look().condition is Condition.RUNNING


@pytest.mark.usefixtures("domain")
def test_what_the_state_does_not_allow_is_refused_as_such() -> None:
    backend = make()
    with pytest.raises(errors.WrongState):
        backend.destroy()


def test_a_guest_that_is_not_defined() -> None:
    backend = make("absent")
    assert backend.look().condition is Condition.ABSENT
    for act in (backend.shutdown, backend.destroy, backend.resume, backend.wake):
        with pytest.raises(errors.GuestNotFound):
            act()


def test_a_guest_that_cannot_be_defined_from_nothing() -> None:
    with pytest.raises(errors.OperationFailed, match="define it, or set GuestConfigFilePath"):
        make("absent").start()


@pytest.mark.parametrize("probe", [True, False])
def test_the_probe_is_no_obstacle_where_the_driver_has_none(probe: bool) -> None:
    """The test driver does not know disk statistics of every guest; it runs all the same."""
    backend = make("test", probe=probe)
    assert backend.look().condition is Condition.RUNNING


def test_a_guest_that_ends_between_two_questions_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen: domstate says running, QEMU ends, domcontrol says "domain is not running" (code 55)."""
    ended = failure(libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running")
    monkeypatch.setattr(virsh, "find_qemu", lambda _guest: None)
    backend = over(Dying(ended))
    assert backend.look().condition is Condition.OFF


# A libvirt that fails.


def failure(code: int, text: str = "a failure") -> libvirt.libvirtError:
    error = libvirt.libvirtError(text)
    error.err = (code, 10, text, 2, "", "", "", 0, 0)
    return error


class Broken:
    """A connection and a domain whose every call ends in the same way, after so many good ones."""

    def __init__(self, act: Callable[[], object], *, alive: bool = True, good: int = 0) -> None:
        self._act = act
        self._alive = alive
        self._good = good

    def lookupByName(self, _name: str) -> Broken:  # noqa: N802 - libvirt's name
        if self._good <= 0:
            self._act()
        self._good -= 1
        return self

    def state(self) -> tuple[int, int]:
        if self._good <= 0:
            self._act()
        self._good -= 1
        return (libvirt.VIR_DOMAIN_SHUTOFF, 1)

    def hasManagedSaveImage(self) -> int:  # noqa: N802 - libvirt's name
        return 0

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802 - libvirt's name
        return DOCUMENT

    def create(self) -> int:
        self._act()
        return 0

    def isAlive(self) -> int:  # noqa: N802 - libvirt's name
        return int(self._alive)


class Dying:
    """A guest that runs when it is first looked at, and not any more at the next question."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self._runs = True

    def lookupByName(self, _name: str) -> Dying:  # noqa: N802 - libvirt's name
        return self

    def state(self) -> tuple[int, int]:
        return (1, 1) if self._runs else (libvirt.VIR_DOMAIN_SHUTOFF, 3)

    def controlInfo(self) -> list[int]:  # noqa: N802 - libvirt's name
        self._runs = False
        raise self._error

    def hasManagedSaveImage(self) -> int:  # noqa: N802 - libvirt's name
        return 0

    def isAlive(self) -> int:  # noqa: N802 - libvirt's name
        return 1


def over(connection: object, **settings: float) -> Virsh:
    backend = make(limit_s=settings.get("limit_s", 60))
    backend._open = lambda name=None: cast("libvirt.virConnect", connection)  # noqa: ARG005
    return backend


def raising(error: Exception) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (libvirt.VIR_ERR_NO_DOMAIN, errors.GuestNotFound),
        (libvirt.VIR_ERR_OPERATION_INVALID, errors.WrongState),
        (libvirt.VIR_ERR_RESOURCE_BUSY, errors.RunsElsewhere),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, errors.Silent),
        (libvirt.VIR_ERR_AUTH_FAILED, errors.Refused),
        (libvirt.VIR_ERR_AUTH_CANCELLED, errors.Refused),
        (libvirt.VIR_ERR_AUTH_UNAVAILABLE, errors.Refused),
        (libvirt.VIR_ERR_ACCESS_DENIED, errors.Refused),
        (libvirt.VIR_ERR_OPERATION_DENIED, errors.Refused),
        (1, errors.OperationFailed),
        (38, errors.OperationFailed),
        (9999, errors.OperationFailed),
    ],
)
def test_codes_become_the_errors_that_say_who_must_act(
    code: int, kind: type[errors.BackendError]
) -> None:
    backend = over(Broken(raising(failure(code)), good=3))
    with pytest.raises(kind, match=rf"virsh start .* a failure \(libvirt code {code}\)"):
        backend.start()


@pytest.mark.parametrize("code", [1, 38, 39, 9999])
def test_an_error_on_a_broken_connection_is_no_answer_of_libvirt(code: int) -> None:
    backend = over(Broken(raising(failure(code)), good=3, alive=False))
    with pytest.raises(errors.Unreachable):
        backend.start()


@pytest.mark.parametrize(
    "text",
    [
        'internal error: ... Failed to get "write" lock',
        'qemu unexpectedly closed the monitor: Failed to get shared "write" lock\nIs another...',
        'Failed to get "consistent read" lock',
    ],
)
def test_qemus_image_lock_means_that_it_runs_elsewhere(text: str) -> None:
    backend = over(Broken(raising(failure(1, text)), good=3))
    with pytest.raises(errors.RunsElsewhere):
        backend.start()


@pytest.mark.parametrize(
    ("code", "code_of_monitor"),
    [(libvirt.VIR_ERR_ACCESS_DENIED, "error"), (1, "error"), (68, "no answer")],
)
@pytest.mark.parametrize("good", [0, 1])
def test_an_error_is_never_offline(code: int, code_of_monitor: str, good: int) -> None:
    verdict = over(Broken(raising(failure(code)), good=good)).look()
    assert verdict.condition is Condition.DARK
    assert f"libvirt: {code_of_monitor}" in verdict.sentence
    assert "UNKNOWN" in verdict.sentence


def hang_for_ever() -> Callable[[], object]:
    end = threading.Event()  # nobody sets it: the thread is abandoned, as with a frozen daemon
    return end.wait


@pytest.mark.parametrize("good", [0, 1])
def test_a_call_that_hangs_is_unknown_within_the_deadline(good: int) -> None:
    start = time.monotonic()
    verdict = over(Broken(hang_for_ever(), good=good), limit_s=1).look()
    assert time.monotonic() - start < 0.9
    assert "libvirt: no answer" in verdict.sentence


def test_a_connection_that_breaks_is_made_anew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virsh, "RECONNECT_PAUSE_S", 0.01)
    monkeypatch.setattr(virsh, "find_qemu", lambda _guest: None)
    gone = failure(38, "Cannot recv data: Connection reset by peer")
    connections = iter([Broken(raising(gone), alive=False), Broken(raising(gone), good=3)])
    backend = make()
    backend._open = lambda name=None: cast("libvirt.virConnect", next(connections))  # noqa: ARG005
    assert backend.look().condition is Condition.OFF
    assert next(connections, None) is None


@pytest.mark.parametrize(
    ("qemu", "code"),
    [(Qemu(7, False), "ONLINE, confidence 50"), (Qemu(7, True), "UNKNOWN"), (None, "UNKNOWN")],
)
def test_without_libvirt_the_process_table_decides(
    monkeypatch: pytest.MonkeyPatch, qemu: Qemu | None, code: str
) -> None:
    monkeypatch.setattr(virsh, "RECONNECT_PAUSE_S", 0.01)
    monkeypatch.setattr(virsh, "find_qemu", lambda _guest: qemu)
    backend = make(uri="qemu+unix:///system?socket=/nonexistent/socket")
    verdict = backend.look()
    assert "libvirt: no connection" in verdict.sentence
    assert code in verdict.sentence


@pytest.mark.parametrize("guest", ["absent", GUEST])
def test_libvirts_word_is_not_believed_against_a_living_process(
    monkeypatch: pytest.MonkeyPatch, domain: libvirt.virDomain, guest: str
) -> None:
    assert domain.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF
    monkeypatch.setattr(virsh, "find_qemu", lambda name: Qemu(7, False) if name == guest else None)
    assert make(guest).look().condition is Condition.LEFTOVER


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """Without an error handler libvirt prints every error to stderr, which is VCS's."""
    make("absent").look()
    assert capfd.readouterr() == ("", "")
