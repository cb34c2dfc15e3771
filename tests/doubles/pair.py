"""Two laboratory hosts with one guest between them, and the agent's executables run on either."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.lab.guest import READY, Heartbeat, bare, obedient, read_heartbeat, wait_for_console
from tests.lab.host import Host, Lab, VirshError
from tests.lab.image import build_image

if TYPE_CHECKING:
    from typing_extensions import Self

BIN = Path(__file__).resolve().parents[2] / "bin"
GUEST = "web"
UUID = "7d1f53a6-0a5e-4a39-8a44-52c3ab5b2a01"
LIBVIRT_OPTIONS = "[libvirt]\nmigrate_uri = qemu+tcp://{target}/system\n"
#: libvirt takes the laboratory's shared directory for a local disk, as which it is mounted.
FLAGS = "migrate_flags = unsafe"


class Ran(NamedTuple):
    """How an entry point ended: exit code, everything it logged, seconds it took."""

    code: int
    log: str
    seconds: float


class Background:
    """An entry point that runs while the test does something else."""

    def __init__(self, pair: Pair, host: Host, verb: str, extra: Sequence[str], aep_s: int) -> None:
        self._result: list[Ran] = []
        self._thread = threading.Thread(
            target=lambda: self._result.append(pair.run(host, verb, *extra, aep_s=aep_s))
        )
        self._thread.start()

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def result(self, seconds: float = 90) -> Ran:
        """How it ended; waits for that."""
        self._thread.join(seconds)
        return self._result[0]


class Pair:
    """Hosts kvm1 and kvm2 (VCS systems sys1 and sys2) and storage that both see.

    Attributes:
        lab, kvm1, kvm2: the laboratory and its hosts.
        conf: the agent's site options on both hosts.
        console, disk: of the guest, wherever it runs.
        vcs_home: where VCS's commands are; "" for nowhere.
    """

    def __init__(self) -> None:
        """Make the hosts; the guest is made by the tests."""
        self._image = build_image()
        self.lab = Lab()
        try:
            self.kvm1, self.kvm2 = self.lab.host("kvm1"), self.lab.host("kvm2")
        except BaseException:
            self.lab.close()
            raise
        self.conf = self.lab.shared / "kvmguest.conf"
        self.console = self.lab.shared / "console"
        self.disk = self.lab.shared / "disk"
        self.vcs_home = ""
        self.set_options("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lab.close()

    @property
    def hosts(self) -> tuple[Host, Host]:
        """Both."""
        return self.kvm1, self.kvm2

    def set_options(self, libvirt: str, *, flags: str = "", rest: str = "") -> None:
        """Write the site's options: more lines of [libvirt], more migrate_flags, more sections."""
        hosts = "[hosts]\nsys1 = kvm1\nsys2 = kvm2\n"
        text = f"{LIBVIRT_OPTIONS}{FLAGS} {flags}\n{libvirt}\n{hosts}{rest}\n"
        self.conf.write_text(text, encoding="utf-8")

    # The guest

    def document(
        self, *, words: Sequence[str] = ("writer",), load_mib: int = 0, uuid: str = UUID
    ) -> str:
        """A guest that boots in 5 s; nothing but the agent keeps two of them off the disk."""
        return obedient(
            GUEST,
            self._image,
            self.console,
            uuid=uuid,
            words=words,
            load_mib=load_mib,
            disk=self.disk,
            shareable=True,
        )

    def prepare(self, host: Host, *, words: Sequence[str], load_mib: int = 0) -> None:
        """Make a new guest on one host, which is off; there must be none."""
        self.disk.write_bytes(b"\0" * 65536)
        self.console.write_bytes(b"")
        host.define(self.document(words=words, load_mib=load_mib))

    def start(self, host: Host, *, words: Sequence[str] = ("writer",), load_mib: int = 0) -> None:
        """Make a new guest on one host and wait until it is ready; there must be none."""
        self.prepare(host, words=words, load_mib=load_mib)
        host.virsh("start", GUEST)
        wait_for_console(self.console, READY)
        if "writer" in words:
            self.next_beat()

    def next_beat(self, seconds: float = 10) -> Heartbeat:
        """A heartbeat that is on the disk later than this call."""
        end = time.monotonic() + seconds
        before = read_heartbeat(self.disk)
        while (beat := read_heartbeat(self.disk)) == before or beat is None:
            assert time.monotonic() < end, f"no heartbeat in {seconds} s"
            time.sleep(0.05)
        return beat

    def start_bare(self, host: Host) -> None:
        """Make a guest that is there in half a second and does nothing."""
        host.define(bare(GUEST, uuid=UUID))
        host.virsh("start", GUEST)

    def clear(self) -> None:
        """Hosts and daemons on, no guest anywhere, the default options, no VCS."""
        self.set_options("")
        self.vcs_home = ""
        for host in self.hosts:
            if not host.is_on:
                host.power_on()
            if GUEST in host.virsh("list", "--name").split():
                host.virsh("destroy", GUEST)
            if GUEST in host.virsh("list", "--name", "--all").split():
                host.undefine(GUEST)

    def state(self, host: Host) -> str:
        """Virsh domstate --reason, "not defined" or what virsh complains of."""
        try:
            return host.virsh("domstate", "--reason", GUEST, timeout=15)
        except VirshError as error:
            return "not defined" if "failed to get domain" in str(error) else str(error)

    def wait_for(self, host: Host, wanted: str, seconds: float = 20) -> None:
        """Wait until state() begins with that."""
        end = time.monotonic() + seconds
        while not (seen := self.state(host)).startswith(wanted):
            assert time.monotonic() < end, f"{host.name}: {seen}, not {wanted}"
            time.sleep(0.1)

    # The agent

    def run(self, host: Host, verb: str, *extra: str, aep_s: int = 60) -> Ran:
        """Run an entry point as VCS does; ``extra`` are tuples, the guest's name is there."""
        start = time.monotonic()
        done = subprocess.run(
            host.inside.command(self.command(verb, *extra, aep_s=aep_s)),
            env={
                "PATH": "/usr/bin:/bin",
                "KVMGUEST_CONF": str(self.conf),
                "KVMGUEST_DEBUG": "1",
                "VCS_HOME": self.vcs_home or "/nonexistent",
            },
            capture_output=True,
            text=True,
            timeout=aep_s,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr, time.monotonic() - start)

    @staticmethod
    def command(verb: str, *extra: str, aep_s: int) -> list[str]:
        """What VCS executes."""
        tuples = ["GuestName", "1", GUEST, *extra, "AEPTimeout", "1", str(aep_s)]
        return [str(BIN / verb), "res", *tuples]

    def migrate(self, host: Host, target: str, *extra: str, aep_s: int = 60) -> Ran:
        """The agent's part of hagrp -migrate."""
        return self.run(host, "migrate", *to(target), *extra, aep_s=aep_s)

    def begin_migrate(self, host: Host, target: str, aep_s: int) -> Background:
        """The same, in the background."""
        return Background(self, host, "migrate", to(target), aep_s)

    def codes(self) -> tuple[int, int]:
        """What monitor says now on both hosts."""
        return self.run(self.kvm1, "monitor").code, self.run(self.kvm2, "monitor").code


def to(target: str) -> tuple[str, ...]:
    """The tuple in which VCS names the target."""
    return "VCSInfo", "2", "TargetHost", target
