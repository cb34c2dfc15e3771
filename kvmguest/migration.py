"""Live migration of a KVM guest to another node, and the proof of where it runs afterwards.

The source's libvirtd does the work (virsh migrate --live --p2p --persistent): it opens its own
connection to the target's and both end the migration by themselves should this process die. The
call's result is only a hint; both ends are asked, and ``settle`` concludes from their answers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Protocol, TypeVar

import libvirt
from lxml import etree

from kvmguest import errors
from kvmguest.arglist import GuestConfig
from kvmguest.deadline import Deadline, Pending, poll
from kvmguest.log import Log
from kvmguest.options import MIGRATE_FLAGS, Options
from kvmguest.states import GONE, Condition, Verdict, libvirt_words

T = TypeVar("T")

CONNECT_LIMIT_S = 15.0
"""An ssh login to a host that is there takes a second; to one that is not, two minutes."""
ASK_LIMIT_S = 5.0
LOOK_EVERY_S = 0.5
SETTLE_S = 10.0
"""How long both ends may take to agree once the migration is over; 0.1 s was measured."""
LAST_LOOK_S = 3.0
FIRST_REPORT_S = 5.0
ABORT_SHARE = 0.25
ABORT_MAX_S = 30.0
"""Time kept for the abort and the last look. A target that froze costs the source's libvirtd 30 s
(its keepalive) before it gives up the guest (measured)."""

_RUNNING = frozenset({"running", "idle"})
_ENDED = frozenset({"not defined", "shut off", "crashed"})
_ARRIVING = frozenset({"migrating", "starting up"})
_HERE = frozenset({Condition.RUNNING, Condition.STOPPING, Condition.PAUSED, Condition.STUCK})


class Call(Protocol):
    """One libvirt call within a limit; raises BackendError (``Virsh`` has it)."""

    def __call__(self, command: str, function: Callable[[], T], limit_s: float = ...) -> T:
        """Do it."""


class Plan(NamedTuple):
    """What goes into virDomainMigrateToURI3."""

    uri: str
    flags: int
    parameters: Mapping[str, Any]
    is_postcopy: bool


class AtTarget(NamedTuple):
    """The guest on the target: virsh's words, or "no answer" and why."""

    state: str
    reason: str

    def __str__(self) -> str:
        return f"{self.state} ({self.reason})" if self.reason else self.state


def plan(target: str, options: Options) -> Plan:
    """Put the site's options and the name of a VCS system together.

    Raises:
        OperationFailed: the name is none that a host can have, or this libvirt is too old.
    """
    host = options.hosts.get(target, target)
    if not host[:1].isalnum() or not all(c.isalnum() or c in ".-_:" for c in host):
        raise errors.OperationFailed(f"{host!r} is no host name: see [hosts] in the site's options")
    if ":" in host:
        host = f"[{host}]"  # IPv6
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER
    flags |= libvirt.VIR_MIGRATE_PERSIST_DEST
    for name in options.libvirt_migrate_flags:
        flag = getattr(libvirt, MIGRATE_FLAGS[name], None)
        if flag is None:
            raise errors.OperationFailed(f"this libvirt has no migrate flag {name}")
        flags |= flag
    parameters: dict[str, Any] = {}
    if options.libvirt_migrate_data_uri:
        uri = options.libvirt_migrate_data_uri.replace("{target}", host)
        parameters[libvirt.VIR_MIGRATE_PARAM_URI] = uri
    if options.libvirt_migrate_bandwidth_mib:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = options.libvirt_migrate_bandwidth_mib
    return Plan(
        _without_prompts(options.libvirt_migrate_uri.replace("{target}", host)),
        flags,
        parameters,
        "postcopy" in options.libvirt_migrate_flags,
    )


def _without_prompts(uri: str) -> str:
    """Ssh must not ask for a password or a host key: nobody is there, it would wait for ever."""
    transport = uri.partition("://")[0].partition("+")[2]
    if "ssh" not in transport or "no_tty=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}no_tty=1"


def settle(source: Verdict, target: AtTarget) -> bool | None:
    """Where the guest runs: True on the target only, False not there, None not sure (yet).

    A guest that runs on neither end has not been migrated. In a post-copy migration it runs on
    the target while its memory is still here (BUSY): that is sure only when the source let go.
    """
    runs_there = target.state in _RUNNING
    if source.condition in GONE and target.state != "no answer":
        return runs_there or (None if target.reason in _ARRIVING else False)
    if source.condition in _HERE and not runs_there:
        return False
    return None


class Migration:
    """One migration, from the refusals beforehand to the verdict."""

    def __init__(
        self,
        config: GuestConfig,
        options: Options,
        deadline: Deadline,
        log: Log,
        call: Call,
        look: Callable[[], Verdict],
    ) -> None:
        self._config = config
        self._guest = config.guest
        self._options = options
        self._deadline = deadline
        self._log = log
        self._call = call
        self._look = look
        self._target: libvirt.virConnect | None = None

    def run(self, source: libvirt.virConnect, target: str) -> bool:
        """Move the guest to the VCS system ``target``; True only when it runs there and not here.

        Raises:
            BackendError: refused before anything was done; the guest is where it was.
        """
        self._refuse_another_site(target)
        made = plan(target, self._options)
        other = self._refuse_what_cannot_work(source, made.uri)
        if other and self._call("dominfo", other.hasManagedSaveImage, ASK_LIMIT_S):
            self._give_up_saved_memory(made.uri)
        domain = self._call("domid", lambda: source.lookupByName(self._guest), ASK_LIMIT_S)
        how = " ".join(sorted(self._options.libvirt_migrate_flags))
        self._log.info(f"{self._guest}: migrate to {target} begins: {made.uri} {how}")
        start = time.monotonic()
        job = Pending(lambda: domain.migrateToURI3(made.uri, dict(made.parameters), made.flags))
        self._follow(job, domain, made, start)
        complaint = self._complaint_of(job)
        return self._conclude(target, made.uri, complaint, start)

    # Beforehand

    def _refuse_another_site(self, target: str) -> None:
        """A guest with site-specific network parameters may not leave its site (the type's rule).

        libvirt knows hosts but no sites, so the administrator names the systems of this one. A
        system that is not named could be anywhere, and there the guest would have no network.
        """
        is_for_dr = self._config.dr_opts["ConfigureNetwork"] not in {"", "0"}
        if is_for_dr and target not in self._options.vcs_same_site:
            raise errors.OperationFailed(
                "DROpts.ConfigureNetwork is 1, and such a guest may not move to another site; if "
                f"{target} belongs to this site, name it in [vcs] same_site of the site's options"
            )

    def _refuse_what_cannot_work(
        self, source: libvirt.virConnect, uri: str
    ) -> libvirt.virDomain | None:
        """What the target has of this guest, which is off there; None if it does not know it."""
        target = self._connect(uri)
        here, there = self._identity(source), self._identity(target)
        if here[0] == there[0] or here[1] == there[1]:
            raise errors.OperationFailed(
                f"{uri} is this host, or has its host name or UUID: {there[0]} {there[1]}"
            )
        domain = self._call("domid", lambda: source.lookupByName(self._guest), ASK_LIMIT_S)
        self._refuse_a_frozen_qemu(domain)
        uuid = self._call("domuuid", domain.UUIDString, ASK_LIMIT_S)
        try:
            other = self._call("domid", lambda: target.lookupByName(self._guest), ASK_LIMIT_S)
        except errors.GuestNotFound:
            return None
        state, reason = libvirt_words(*self._call("domstate", other.state, ASK_LIMIT_S))
        if state not in _ENDED:
            raise errors.RunsElsewhere(f"{there[0]} has a guest of this name: {state} ({reason})")
        if self._call("domuuid", other.UUIDString, ASK_LIMIT_S) != uuid:
            raise errors.OperationFailed(
                f"{there[0]} defines another guest of this name (its UUID differs): undefine it"
            )
        return other

    def _give_up_saved_memory(self, uri: str) -> None:
        """Of a guest that runs here, memory that was saved on the target is yesterday's.

        libvirt would let the guest in, keep the image, and at the next start there restore that
        old memory over a disk that has gone on (seen with libvirt 9.0).
        """
        target = self._call(f"-c {uri} connect", lambda: libvirt.open(uri), CONNECT_LIMIT_S)
        domain = self._call("domid", lambda: target.lookupByName(self._guest), ASK_LIMIT_S)
        self._call(f"-c {uri} managedsave-remove", domain.managedSaveRemove, ASK_LIMIT_S)
        name = self._call("hostname", target.getHostname, ASK_LIMIT_S)
        self._log.warning(
            f"{self._guest}: {name} had saved memory of it, but it runs here: "
            "that memory is given up"
        )

    def _refuse_a_frozen_qemu(self, domain: libvirt.virDomain) -> None:
        """Without an answer from QEMU nothing is copied, and the time for a cold move runs out."""
        try:
            self._call("domblkstat", lambda: domain.blockStats(""), ASK_LIMIT_S)
        except errors.Silent as error:
            raise errors.OperationFailed(f"its QEMU does not answer: {error}") from error
        except errors.BackendError as error:
            self._log.debug(1, f"{self._guest}: whether its QEMU answers is not known: {error}")

    def _identity(self, connection: libvirt.virConnect) -> tuple[str, str]:
        """Host name and host UUID, which libvirt itself compares too."""
        name = self._call("hostname", connection.getHostname, ASK_LIMIT_S)
        text = self._call("capabilities", connection.getCapabilities, CONNECT_LIMIT_S)
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        return name, etree.fromstring(text.encode(), parser).findtext("host/uuid") or ""

    def _connect(self, uri: str) -> libvirt.virConnect:
        if self._target is None or not self._target.isAlive():
            self._target = None
            self._target = self._call(
                f"-c {uri} connect", lambda: libvirt.openReadOnly(uri), CONNECT_LIMIT_S
            )
        return self._target

    # While it runs

    def _follow(
        self, job: Pending[int], domain: libvirt.virDomain, made: Plan, start: float
    ) -> None:
        """Report progress at 5, 10, 20, ... s; abort in time; return when the job is over."""
        spare_s = min(ABORT_MAX_S, self._deadline.remaining() * ABORT_SHARE)
        report_s = FIRST_REPORT_S
        has_switched = False
        while not job.has_ended(LOOK_EVERY_S):
            elapsed_s = time.monotonic() - start
            if self._deadline.remaining() <= spare_s:
                self._log.warning(f"{self._guest}: too slow, is aborted after {elapsed_s:.0f} s")
                self._attempt("domjobabort", domain.abortJob)
                job.has_ended(self._deadline.remaining() - LAST_LOOK_S)
                return
            wants_switch = made.is_postcopy and not has_switched
            if elapsed_s < report_s and not wants_switch:
                continue
            stats = self._attempt("domjobinfo", domain.jobStats) or {}
            if elapsed_s >= report_s:
                report_s *= 2
                self._log.info(f"{self._guest}: {elapsed_s:.0f} s: {_progress(stats)}")
            if wants_switch and stats.get("memory_iteration", 0) > 1:
                has_switched = self._attempt("migrate-postcopy", domain.migrateStartPostCopy) == 0

    def _attempt(self, command: str, function: Callable[[], T]) -> T | None:
        try:
            return self._call(command, function, ASK_LIMIT_S)
        except errors.BackendError as error:
            self._log.debug(1, str(error))
            return None

    @staticmethod
    def _complaint_of(job: Pending[int]) -> str:
        """What the call said, "" when it said nothing bad."""
        try:
            job.result("", 0)
        except errors.Silent:
            return "libvirt did not end the migration, it may still go on"
        except libvirt.libvirtError as error:
            return str(error)
        return ""

    # Afterwards

    def _conclude(self, target: str, uri: str, complaint: str, start: float) -> bool:
        seen: list[tuple[Verdict, AtTarget]] = []

        def both() -> bool | None:
            seen.append((self._look(), self._ask_target(uri)))
            return settle(*seen[-1])

        answer = poll(both, min(SETTLE_S, self._deadline.remaining() / 2))
        source, there = seen[-1]
        took = f"after {time.monotonic() - start:.0f} s"
        where = f"here {source.sentence}; {target}: {there}"
        because = f" ({complaint})" if complaint else ""
        if answer:
            self._log.info(f"{self._guest}: migrated to {target} {took}{because}; {where}")
        elif answer is None:
            self._log.error(
                f"{self._guest}: whether it was migrated to {target} cannot be told "
                f"{took}{because}; {where}"
            )
        else:
            self._log.error(f"{self._guest}: not migrated to {target} {took}{because}; {where}")
        return answer is True

    def _ask_target(self, uri: str) -> AtTarget:
        try:
            target = self._connect(uri)
            domain = self._call("domid", lambda: target.lookupByName(self._guest), ASK_LIMIT_S)
            return AtTarget(*libvirt_words(*self._call("domstate", domain.state, ASK_LIMIT_S)))
        except errors.GuestNotFound:
            return AtTarget("not defined", "")
        except errors.BackendError as error:
            return AtTarget("no answer", str(error))


def _progress(stats: Mapping[str, Any]) -> str:
    """Libvirt's job statistics as words; it gives bytes, and none before the copying begins."""
    if "memory_total" not in stats:
        return "libvirt gives no progress"
    left, total = (stats.get(f"memory_{key}", 0) >> 20 for key in ("remaining", "total"))
    return f"{left} of {total} MiB left, pass {stats.get('memory_iteration', 1)}"
