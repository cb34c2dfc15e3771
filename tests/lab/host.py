"""Hosts of the laboratory: real libvirtd daemons, each alone in namespaces of its own.

A host shares the machine's files, except that /etc is its own copy, and /var and /run are its own
and begin empty: what is to be run on a host must not lie there. Hosts of one laboratory know each
other by name, from /etc/hosts.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.host_files import configure_libvirt, furnish
from tests.lab.namespaces import LabError, Namespaces, Network, is_alive, wait_until_gone

if TYPE_CHECKING:
    import subprocess

    from typing_extensions import Self

_TMP = Path("/tmp")
_PREFIX = "kvmlab-"
_INIT = Path(__file__).with_name("host_init.sh")

#: The kernel's sockaddr_un has room for so many bytes and a zero byte.
_LONGEST_SOCKET_PATH = 107


class VirshError(LabError):
    """A virsh command ended with an error; the message has its own words."""


class Host:
    """One host. It is switched on when made; close() removes it.

    Attributes:
        name: its host name.
        address: its address in the laboratory's network, 10.99.0.x.
        directory: all that belongs to it; directory/run is its /run, directory/var its /var.
        uri: for libvirt, from outside and from every other host: qemu+unix://...?socket=...
        peer_uri: for libvirt, from other hosts only: qemu+tcp://10.99.0.x/system.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        network: Network,
        number: int,
        shared: Path,
        *,
        lock_manager: bool = False,
        migration_address: str = "",
    ) -> None:
        """Make the host and switch it on.

        Args:
            directory: for its files; must not exist, and not be under /etc, /var or /run.
            name: its host name.
            network: the switch it is plugged into.
            number: the last part of its address.
            shared: the directory that stands for the storage all hosts share. Its file "hosts" is
                everybody's /etc/hosts.
            lock_manager: run virtlockd, with its leases in the shared directory.
            migration_address: where others are to send migration data; its own address if empty.

        Raises:
            LabError: it did not start. Nothing of it is left then.
        """
        self.name = name
        self.number = number
        self.directory = directory
        self.network = network
        self.address = f"{network.SUBNET}.{number}"
        self._lock_manager = lock_manager
        self._inside: Namespaces | None = None
        self._socket = directory / "run/libvirt/libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self._socket}"
        self.peer_uri = f"qemu+tcp://{self.address}/system"
        _check_place(directory, self._socket)
        directory.mkdir(mode=0o755, parents=True)
        try:
            furnish(directory, shared)
            configure_libvirt(
                directory / "etc/libvirt",
                address=self.address,
                migration_address=migration_address or self.address,
                lockspace=shared / "lockspace" if lock_manager else None,
            )
            with (shared / "hosts").open("a", encoding="ascii") as hosts:
                hosts.write(f"{self.address} {name}\n")
            self.power_on()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Power

    @property
    def inside(self) -> Namespaces:
        """The namespaces of the host.

        Raises:
            LabError: it is switched off.
        """
        if self._inside is None:
            raise LabError(f"host {self.name} is switched off")
        return self._inside

    @property
    def is_on(self) -> bool:
        """Whether it is switched on."""
        return self._inside is not None

    def power_on(self) -> None:
        """Boot, with an empty /run; /etc and /var are as they were left."""
        run = self.directory / "run"
        shutil.rmtree(run, ignore_errors=True)
        for folder in ("libvirt", "lock"):
            (run / folder).mkdir(parents=True)
        kinds = ("--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
        init = ["bash", str(_INIT), self.name, str(self.directory)]
        self._inside = Namespaces(kinds, init, self.directory / "init.log")
        self.network.plug(self._inside.pid, self.number)
        if self._lock_manager:
            self._daemon("virtlockd", "--daemon")
        self.start_libvirtd()

    def power_off(self) -> None:
        """Pull the plug: every process of the host is killed at once, guests included."""
        if self._inside is not None:
            self._inside.close()
            self._inside = None

    def close(self) -> None:
        """Switch it off and remove its directory. Harmless if repeated."""
        self.power_off()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Commands

    def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host; see Namespaces.run."""
        return self.inside.run(argv, env, timeout, stdin)

    def popen(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: object
    ) -> subprocess.Popen[str]:
        """Start a command on the host; see Namespaces.popen and namespaces.end_group."""
        return self.inside.popen(argv, env, **options)

    def virsh(self, *args: str, timeout: float = 60, stdin: str = "") -> str:
        """Run virsh on the host and return what it prints, stripped.

        Raises:
            VirshError: virsh ended with an error.
        """
        done = self.run(["virsh", "--quiet", *args], timeout=timeout, stdin=stdin)
        if done.returncode != 0:
            raise VirshError(f"{self.name}: virsh {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def define(self, document: str) -> None:
        """Define a guest from its domain XML."""
        self.virsh("define", "/dev/stdin", stdin=document)

    def undefine(self, guest: str) -> None:
        """Undefine a guest, with a saved memory image if there is one."""
        self.virsh("undefine", "--managed-save", guest)

    def wait_for_state(self, guest: str, wanted: str, timeout: float = 30) -> None:
        """Wait until domstate --reason says so, as in "shut off (shutdown)".

        Raises:
            LabError: it did not within timeout seconds.
        """
        end = time.monotonic() + timeout
        while (state := self.virsh("domstate", "--reason", guest)) != wanted:
            if time.monotonic() > end:
                raise LabError(f"{guest} on {self.name} is {state!r}, not {wanted!r}")
            time.sleep(0.1)

    # The management daemon

    @property
    def libvirtd_pid(self) -> int:
        """The process id of libvirtd, as seen from outside."""
        return self._pid_from("libvirtd.pid", "libvirtd")

    def start_libvirtd(self) -> None:
        """Start libvirtd and wait until it answers, to this host and to others."""
        self._daemon("libvirtd", "--daemon", "--listen")
        self.virsh("list")
        end = time.monotonic() + 10
        while self.run(["bash", "-c", f"exec 3<>/dev/tcp/{self.address}/16509"]).returncode != 0:
            if time.monotonic() > end:
                raise LabError(f"{self.name}: libvirtd does not listen at {self.address}")
            time.sleep(0.05)

    def kill_libvirtd(self) -> None:
        """Kill libvirtd. Guests go on."""
        _kill(self.libvirtd_pid)

    def freeze_libvirtd(self) -> None:
        """Stop libvirtd, so that it keeps its socket and answers nothing."""
        os.kill(self.libvirtd_pid, signal.SIGSTOP)

    def thaw_libvirtd(self) -> None:
        """Let a frozen libvirtd go on."""
        os.kill(self.libvirtd_pid, signal.SIGCONT)

    # Guests' processes

    def qemu_pid(self, guest: str) -> int:
        """The process id of a guest's QEMU, as seen from outside.

        Raises:
            LabError: the guest has none.
        """
        return self._pid_from(f"libvirt/qemu/{guest}.pid", f"QEMU of {guest}")

    def kill_qemu(self, guest: str) -> None:
        """Kill a guest's QEMU."""
        _kill(self.qemu_pid(guest))

    def freeze_qemu(self, guest: str) -> None:
        """Stop a guest's QEMU: neither it nor its monitor moves."""
        os.kill(self.qemu_pid(guest), signal.SIGSTOP)

    def thaw_qemu(self, guest: str) -> None:
        """Let a frozen QEMU go on."""
        os.kill(self.qemu_pid(guest), signal.SIGCONT)

    def _pid_from(self, pid_file: str, what: str) -> int:
        path = self.directory / "run" / pid_file
        inner = path.read_text(encoding="ascii").strip() if path.exists() else ""
        pid = self.inside.outer_pid(int(inner)) if inner else None
        if pid is None or not is_alive(pid):
            raise LabError(f"host {self.name}: no process: {what}")
        return pid

    def _daemon(self, *argv: str) -> None:
        # Daemons keep no pipe of ours: communicate() would wait for their end.
        done = self.run(["sh", "-c", 'exec "$@" >>/var/log/daemons.log 2>&1', "sh", *argv])
        if done.returncode != 0:
            log = (self.directory / "var/log/daemons.log").read_text(encoding="utf-8")
            raise LabError(f"host {self.name}: {argv[0]} did not start: {log[-2000:]}")


class Lab:
    """A network with hosts in it, and a directory that all of them share.

    Attributes:
        directory: everything the laboratory has on disk; removed at the end.
        shared: the storage that all hosts share, for disks, consoles and documents.
        network: the switch.
        hosts: the hosts, by number.
    """

    def __init__(self, parent: Path = _TMP) -> None:
        """Make the network.

        Args:
            parent: where to make the laboratory's directory. It must be a short path: see Host.

        Raises:
            LabError: the network could not be made.
        """
        # Made anew, so that no two runs meet and nothing of the caller's is removed at the end.
        made = Path(tempfile.mkdtemp(prefix=f"new-{_PREFIX}", dir=parent))
        self._lock: int | None = _locked(made)
        self.directory = made.rename(parent / made.name[len("new-") :])
        self.shared = self.directory / "shared"
        self.hosts: list[Host] = []
        atexit.register(self.close)
        self.shared.mkdir()
        (self.shared / "hosts").write_text("127.0.0.1 localhost\n", encoding="ascii")
        try:
            self.network = Network(self.directory / "network.log")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def host(self, name: str, *, lock_manager: bool = False, migration_address: str = "") -> Host:
        """Make a host and switch it on; see Host."""
        number = len(self.hosts) + 1
        host = Host(
            self.directory / name,
            name,
            self.network,
            number,
            self.shared,
            lock_manager=lock_manager,
            migration_address=migration_address,
        )
        self.hosts.append(host)
        return host

    def close(self) -> None:
        """Remove everything. Harmless if repeated."""
        while self.hosts:
            self.hosts.pop().close()
        if hasattr(self, "network"):
            self.network.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        atexit.unregister(self.close)


def remove_leftovers(parent: Path = _TMP) -> list[Path]:
    """Remove the directories of laboratories whose run was killed, and return them.

    Their processes, mounts and networks are gone already: those end with the run.
    """
    removed = []
    for directory in parent.glob(f"{_PREFIX}*"):
        try:
            lock = _locked(directory)
        except OSError:
            continue  # somebody still works in it, or just removed it
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)
        removed.append(directory)
    return removed


def _locked(directory: Path) -> int:
    """Lock a directory against remove_leftovers, until the returned descriptor is closed.

    Raises:
        OSError: it is gone, or locked already.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_place(directory: Path, socket: Path) -> None:
    hidden = [part for part in ("etc", "var", "run") if Path("/", part) in directory.parents]
    if hidden:
        raise LabError(f"{directory}: hosts have a /{hidden[0]} of their own and would not see it")
    if len(os.fsencode(str(socket))) > _LONGEST_SOCKET_PATH:
        raise LabError(f"{socket}: too long for a socket; make the laboratory in /tmp")


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid, 10)
