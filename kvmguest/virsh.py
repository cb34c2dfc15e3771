"""The backend for plain KVM: the calls that virsh makes, through libvirt's own binding.

Each method stands for a virsh command, which the debug messages print so that an administrator
can repeat it. Error codes are told apart here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Callable, TypeVar

import libvirt

from kvmguest import errors
from kvmguest.arglist import GuestConfig
from kvmguest.deadline import Deadline, call_within
from kvmguest.log import Log
from kvmguest.options import Options
from kvmguest.process_table import find_qemu, is_migrating
from kvmguest.statedir import MigratedMarker, StateDir
from kvmguest.states import LibvirtSeen, Verdict, judge_libvirt, libvirt_words

if TYPE_CHECKING:
    from kvmguest.configsync import ConfigSync
    from kvmguest.dr_iso import NetworkIso
    from kvmguest.elsewhere import Elsewhere

T = TypeVar("T")

RECONNECT_PAUSE_S = 0.7
"""A restarting libvirtd was away for 0.5 s (measured)."""
REQUEST_LIMIT_S = 5.0
"""A shutdown request to a stuck QEMU gets no answer in 70 s (measured), so do not wait for it."""
PROBE_LIMIT_S = 3.0

_CONTROL_WORDS = ("ok", "background job", "occupied", "error")  # virDomainControlState

_ERRORS: dict[int, type[errors.BackendError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: errors.GuestNotFound,
    libvirt.VIR_ERR_OPERATION_INVALID: errors.WrongState,
    libvirt.VIR_ERR_RESOURCE_BUSY: errors.RunsElsewhere,  # virtlockd, sanlock
    libvirt.VIR_ERR_OPERATION_TIMEOUT: errors.Silent,  # another call holds the domain's job
    libvirt.VIR_ERR_AUTH_FAILED: errors.Refused,
    libvirt.VIR_ERR_AUTH_CANCELLED: errors.Refused,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE: errors.Refused,
    libvirt.VIR_ERR_ACCESS_DENIED: errors.Refused,
    libvirt.VIR_ERR_OPERATION_DENIED: errors.Refused,
}
# QEMU's image locks have no code of their own, only a text (QEMU 2.10 to 7.2).
_LOCK_TEXT = '" lock'
_LOCK_HINT = "Failed to get "
# What a QEMU process says of its guest: (libvirt's record says migrating, QEMU's -incoming).
_PROCESS_WORDS = {
    (True, False): "its QEMU process is in a live migration",
    (True, True): "its QEMU process is in a live migration",
    (False, False): "its QEMU process is alive",
    (False, True): "its QEMU process is alive",
    (None, False): "its QEMU process is alive",
    (None, True): "its QEMU process came by live migration",
}


class Virsh:
    """One guest of this node's libvirt."""

    def __init__(
        self,
        config: GuestConfig,
        options: Options,
        deadline: Deadline,
        log: Log,
        env: Mapping[str, str],
        *,
        is_read_only: bool = False,
    ) -> None:
        self._config = config
        self._guest = config.guest
        self._options = options
        self._deadline = deadline
        self._log = log
        self._env = env
        memory = StateDir(options.vcs_state_dir)
        self._marker = MigratedMarker(memory, config.resource, config.guest)
        self._open = libvirt.openReadOnly if is_read_only else libvirt.open
        self._connection: libvirt.virConnect | None = None
        self._last_document = ""
        # Without a handler of our own the library prints every error to stderr.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)

    def look(self) -> Verdict:
        """Virsh domstate --reason, domcontrol; the process table where libvirt is away."""
        return judge_libvirt(self._observe())

    def start(self) -> None:
        """Virsh start, which restores a managed save; before it virsh define, if need be.

        A saved memory that is older than the disks is given up (virsh start --force-boot).

        With ResyncVMCfg a bad document does not keep the guest down: what is defined starts. A good
        one that libvirt then fails to start is taken back, so that it costs nobody the old
        definition, but the old one is not started: its disks may be yesterday's.
        """
        from kvmguest.dr_iso import network_iso  # noqa: PLC0415 - only a start needs it

        iso = network_iso(self._config.dr_opts)  # what is wrong is said before anything is touched
        take_back = None
        elsewhere = self._elsewhere()
        try:
            defined = self._domain()
        except errors.GuestNotFound:
            defined = None
        elsewhere.refuse_if_it_left(defined, self._marker.target())
        if defined is None:
            self._config_sync().define()
        elif self._config.resync_vm_cfg:
            take_back = self._resync(defined)
        domain = defined or self._domain()
        start = domain.create
        has_memory = self._call("dominfo", domain.hasManagedSaveImage) == 1
        if has_memory and elsewhere.is_saved_memory_stale(domain):
            start = partial(domain.createWithFlags, libvirt.VIR_DOMAIN_START_FORCE_BOOT)
            has_memory = False
        self._bring_network_in_step(iso, is_restored=has_memory)
        try:
            self._call("start", start)
        except errors.OperationFailed as error:
            if take_back is None:
                raise
            raise errors.OperationFailed(f"{error}; {take_back()}") from error

    def _elsewhere(self) -> Elsewhere:
        from kvmguest.elsewhere import Elsewhere  # noqa: PLC0415 - not for a monitor

        return Elsewhere(self._guest, self._options, self._call, self._log, self._env)

    def resume(self) -> None:
        """Virsh resume, unless the guest has run elsewhere since it was paused."""
        domain = self._domain()
        self._elsewhere().refuse_to_go_on(domain)
        self._call("resume", domain.resume, REQUEST_LIMIT_S)

    def wake(self) -> None:
        """Virsh dompmwakeup, unless the guest has run elsewhere since it fell asleep."""
        domain = self._domain()
        self._elsewhere().refuse_to_go_on(domain)
        self._call("dompmwakeup", domain.pMWakeup, REQUEST_LIMIT_S)

    def shutdown(self) -> None:
        """Virsh shutdown."""
        domain = self._domain()
        self._remember_transient(domain)
        self._call("shutdown", domain.shutdown, REQUEST_LIMIT_S)

    def destroy(self) -> None:
        """Virsh destroy; 10.3 s for a QEMU that does not react (measured)."""
        domain = self._domain()
        self._remember_transient(domain)
        self._call("destroy", domain.destroy)

    def _remember_transient(self, domain: libvirt.virDomain) -> None:
        """A guest that libvirt runs but does not define is forgotten when it ends."""
        try:
            if self._config.sync_dir and not self._call("dominfo", domain.isPersistent):
                self._last_document = self.dump()
        except errors.BackendError as error:
            self._log.debug(1, f"{self._guest}: its configuration is not kept: {error}")

    def migrate(self, target: str) -> bool:
        """Virsh migrate --live --p2p --persistent; the module says how and with what proof."""
        from kvmguest.migration import Migration  # noqa: PLC0415 - not for every monitor

        job = Migration(
            self._config, self._options, self._deadline, self._log, self._call, self.look
        )
        return job.run(self._connect(), target)

    def save_configuration(self) -> str:
        """Virsh dumpxml --inactive --security-info, to a file in SyncDir."""
        return self._config_sync().save()

    def redefine(self) -> str:
        """Virsh define of this node's copy, if the guest is off; a managed save counts as on."""
        sync = self._config_sync()
        try:
            domain = self._domain()
        except errors.GuestNotFound:
            sync.define()
            return "defined"
        if self._is_in_use(domain):
            raise errors.WrongState(f"{self._guest} is not off, or has a managed save image")
        return "redefined" if sync.redefine() else ""

    def dump(self) -> str:
        """Virsh dumpxml --inactive --security-info; of a transient guest that ended, the last."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        try:
            domain = self._domain()
        except errors.GuestNotFound:
            if self._last_document:
                return self._last_document
            raise
        return self._call("dumpxml --inactive --security-info", lambda: domain.XMLDesc(flags))

    def define(self, text: str) -> None:
        """Virsh define."""
        self._call("define", lambda: self._connect().defineXML(text))

    def _bring_network_in_step(self, iso: NetworkIso | None, *, is_restored: bool) -> None:
        """Attach, replace or remove the CD of DROpts, for a guest that boots now."""
        from kvmguest.drnet import CD_ALIAS  # noqa: PLC0415 - only a start needs it

        if iso is None and CD_ALIAS not in self.dump():
            return
        if is_restored:
            self._log.info(
                f"{self._guest}: it has a managed save image and goes on with the network it had: "
                "DROpts counts when it boots the next time"
            )
            return
        with errors.needing_lxml():
            from kvmguest.dr_online import NetworkCd  # noqa: PLC0415
        network_cd = NetworkCd(self._guest, self._options.vcs_state_dir, self._log, self)
        if iso:
            network_cd.attach(iso)
        else:
            network_cd.detach()

    def _config_sync(self) -> ConfigSync:
        with errors.needing_lxml():
            from kvmguest.configsync import ConfigSync  # noqa: PLC0415
        return ConfigSync(self._config, self._deadline, self._log, self)

    def _resync(self, domain: libvirt.virDomain) -> Callable[[], str] | None:
        if self._is_in_use(domain):
            self._log.info(f"{self._guest}: it has a managed save image: not redefined")
            return None
        try:
            return self._config_sync().redefine()
        except errors.BackendError as error:
            self._log.warning(f"ResyncVMCfg: {error}. Starting what is defined here")
            return None

    def _is_in_use(self, domain: libvirt.virDomain) -> bool:
        has_save = self._call("dominfo", domain.hasManagedSaveImage) == 1
        return has_save or self._call("domstate", domain.isActive) == 1

    def _observe(self) -> LibvirtSeen:
        try:
            return self._observe_with_retry()
        except errors.GuestNotFound:
            target = self._marker.target()
            if target is None:
                return self._seen_gone("not defined", "")
            return self._seen_gone(
                "not defined", "marked as migrated", detail=target and f"to {target}"
            )
        except errors.Unreachable as error:
            return self._seen_by_process_table(str(error))
        except errors.Silent as error:
            return LibvirtSeen(self._guest, "no answer", "", detail=str(error))
        except errors.BackendError as error:
            return LibvirtSeen(self._guest, "error", "", detail=str(error))

    def _observe_with_retry(self) -> LibvirtSeen:
        try:
            return self._observe_once()
        except errors.Unreachable:
            self._connection = None
            self._deadline.sleep(RECONNECT_PAUSE_S)
        except errors.WrongState:
            self._log.debug(1, f"{self._guest}: it changed between two questions, so once more")
        return self._observe_once()

    def _observe_once(self) -> LibvirtSeen:
        domain = self._domain()
        self._marker.clear()  # it is back
        state, reason = libvirt_words(*self._call("domstate --reason", domain.state))
        if state == "running":
            return self._seen_running(domain, reason)
        if state == "shut off":
            has_save = self._call("dominfo", domain.hasManagedSaveImage) == 1
            return self._seen_gone(state, reason, has_managed_save=has_save)
        return LibvirtSeen(self._guest, state, reason)

    def _seen_running(self, domain: libvirt.virDomain, reason: str) -> LibvirtSeen:
        control, _details, milliseconds = self._call("domcontrol", domain.controlInfo)
        if self._options.libvirt_probe and control == libvirt.VIR_DOMAIN_CONTROL_OK:
            try:
                # All disks at once. libvirt asks QEMU even where there is none; for the memory
                # statistics of a guest without a balloon it would not (libvirt 9.0, measured).
                self._call("domblkstat", lambda: domain.blockStats(""), PROBE_LIMIT_S)
            except errors.Silent:
                # The next domcontrol tells for how long QEMU has not answered.
                control, _details, milliseconds = self._call("domcontrol", domain.controlInfo)
            except errors.BackendError as error:
                self._log.debug(1, f"{self._guest}: the probe failed: {error}")
        word = _CONTROL_WORDS[control] if control < len(_CONTROL_WORDS) else f"control {control}"
        return LibvirtSeen(self._guest, "running", reason, word, milliseconds / 1000)

    def _seen_gone(
        self, state: str, reason: str, *, has_managed_save: bool = False, detail: str = ""
    ) -> LibvirtSeen:
        """Libvirt says that nothing runs: believe it only if no process contradicts."""
        qemu = find_qemu(self._guest)
        pid = qemu.pid if qemu else None
        return LibvirtSeen(
            self._guest,
            state,
            reason,
            has_managed_save=has_managed_save,
            qemu_pid=pid,
            detail=detail,
        )

    def _seen_by_process_table(self, detail: str) -> LibvirtSeen:
        qemu = find_qemu(self._guest)
        reason = "no process of it"
        if qemu:
            reason = _PROCESS_WORDS[is_migrating(self._guest), qemu.is_incoming]
        return LibvirtSeen(self._guest, "no connection", reason, detail=detail)

    def _connect(self) -> libvirt.virConnect:
        if self._connection is None:
            uri = self._options.libvirt_uri or None
            self._connection = self._call("connect", lambda: self._open(uri))
        return self._connection

    def _domain(self) -> libvirt.virDomain:
        connection = self._connect()
        return self._call("domid", lambda: connection.lookupByName(self._guest))

    def _call(self, command: str, function: Callable[[], T], limit_s: float = 3600.0) -> T:
        """One libvirt call within its slice of the deadline.

        Raises:
            BackendError: in the class that says who must act.
        """
        what = f"virsh {command} {self._guest}"
        start = time.monotonic()
        answer = "no answer"
        try:
            result = call_within(self._deadline.slice(limit_s), what, function)
            answer = repr(result) if isinstance(result, (int, list, dict)) else "ok"
        except libvirt.libvirtError as error:
            answer = str(error)
            raise self._translate(what, error) from error
        finally:
            self._log.debug(2, f"{what}: {answer} ({(time.monotonic() - start) * 1000:.0f} ms)")
        return result

    def _translate(self, what: str, error: libvirt.libvirtError) -> errors.BackendError:
        text = f"{what}: {error} (libvirt code {error.get_error_code()})"
        kind = _ERRORS.get(error.get_error_code())
        if kind is None and (self._connection is None or not self._connection.isAlive()):
            kind = errors.Unreachable
        if kind is None and _LOCK_HINT in str(error) and _LOCK_TEXT in str(error):
            kind = errors.RunsElsewhere
        return (kind or errors.OperationFailed)(text)
