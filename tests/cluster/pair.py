"""Two cluster nodes: laboratory hosts with corosync, Pacemaker, a shared disk, a power switch."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.engine import GUEST, RESOURCE, Agent, View, cib, corosync_conf, view
from tests.cluster.observer import Observer
from tests.cluster.switch import PowerSwitch
from tests.lab.guest import obedient
from tests.lab.host import Host, Lab, remove_leftovers
from tests.lab.namespaces import LabError

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.lab.image import Image

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "bin"
_NODE = Path(__file__).with_name("node")

#: libvirt does not know that the hosts see the same file, hence "unsafe".
_SITE_OPTIONS = """\
[libvirt]
migrate_uri = qemu+tcp://{target}/system
migrate_flags = unsafe
"""


class Pair:
    """A two-node cluster with one guest.

    Attributes:
        nodes: the hosts, by name ("node1", "node2").
        config: the guest's domain document, on shared storage.
        disk: the guest's disk, on shared storage. Nothing locks it: a second writer is possible.
        console: what guests on either node print.
        switch: the power switch.
        formed: label of the agent and kind of guest that play() formed the cluster with; None if
            it must form it anew.
        observer: watches QEMU processes and the disk all the time.
    """

    def __init__(self, image: Image) -> None:
        """Make the hosts; form() makes a cluster of them."""
        remove_leftovers()  # directories, all that is left of a run that was killed
        self._image = image
        self.formed: tuple[str, str] | None = None
        self._lab = Lab()
        try:
            shared = self._lab.shared
            self.config = shared / "vm.xml"
            self.disk = shared / "vm.disk"
            self.console = shared / "vm.console"
            self.nodes = {name: self._lab.host(name) for name in ("node1", "node2")}
            self._socket = self._lab.directory / "switch"
            self.switch = PowerSwitch(self._socket, self.nodes, self._boot)
            self.observer = Observer(self.nodes, self.disk, GUEST)
        except BaseException:
            self._lab.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove everything."""
        self.observer.close()
        self.switch.close()
        self._lab.close()

    def form(self, agent: Agent, *, is_deaf: bool = False, load_mib: int = 0) -> None:
        """Form the cluster anew, with nothing remembered, and wait until the guest beats.

        Args:
            agent: what runs the guest.
            is_deaf: the guest ignores its power button.
            load_mib: so much of its memory the guest writes over and over.

        Raises:
            LabError: it did not come up.
        """
        self.switch.wait()  # or a node that was just shot would come up with the old configuration
        for node in self.nodes:
            self.switch.press("off", node)
        self.console.write_bytes(b"")
        self.disk.write_bytes(b"\0" * 65536)
        self.config.write_text(self._document(is_deaf, load_mib), encoding="utf-8")
        hosts = list(self.nodes.values())
        for host in hosts:
            shutil.rmtree(host.directory / "var/lib/pacemaker", ignore_errors=True)
            shutil.rmtree(host.directory / "etc/libvirt/qemu", ignore_errors=True)
            shutil.rmtree(host.directory / "var/lib/libvirt/qemu/save", ignore_errors=True)
            etc = host.directory / "etc"
            (etc / "corosync").mkdir(exist_ok=True)
            (etc / "corosync/corosync.conf").write_text(corosync_conf(hosts), encoding="ascii")
            first = cib(hosts, agent, self._socket)
            (etc / "corosync/first-cib.xml").write_text(first, encoding="utf-8")
            (etc / "kvmguest.conf").write_text(_SITE_OPTIONS, encoding="ascii")
        for node in self.nodes:
            self.switch.press("on", node)
        self.switch.wait()
        if complaint := self.settle(90, calm_s=2):
            raise LabError(f"the cluster did not form with {agent.label}: {complaint}")

    def _document(self, is_deaf: bool, load_mib: int) -> str:
        return obedient(
            GUEST,
            self._image,
            self.console,
            uuid="6e0a7a6c-4f0e-4c43-9d8f-0c2c6f6f0f01",
            words=["writer", "deaf"] if is_deaf else ["writer"],
            disk=self.disk,
            shareable=True,
            load_mib=load_mib,
        )

    @staticmethod
    def _boot(host: Host) -> None:
        host.power_on()
        up = ["sh", "-c", 'exec sh "$@" >>/var/log/up.log 2>&1', "sh", str(_NODE / "up.sh")]
        done = host.run([*up, str(_NODE)])
        if done.returncode != 0:
            said = (host.directory / "var/log/up.log").read_text(encoding="utf-8")
            raise LabError(f"{host.name} did not become a node: {said[-2000:]}")

    # The engine

    def command(self, *argv: str) -> str:
        """Run a command of the engine on the first node that can; return what it printed."""
        last = ""
        for host in self.nodes.values():
            try:
                done = host.run(argv, timeout=30)
            except (LabError, OSError, subprocess.TimeoutExpired) as error:
                last = str(error)
                continue
            if done.returncode == 0:
                return done.stdout
            last = done.stderr
        raise LabError(f"{' '.join(argv)}: {last}")

    def views(self) -> dict[str, View | None]:
        """What the engine believes, asked on each node."""
        return {name: view(host) for name, host in self.nodes.items()}

    def other(self, node: str) -> str:
        """The name of the node that is not this one."""
        return next(name for name in self.nodes if name != node)

    def guest_node(self) -> str:
        """The node whose process table has the guest.

        Raises:
            LabError: none or both have.
        """
        found = [name for name, pids in self.observer.processes().items() if pids]
        if len(found) != 1:
            raise LabError(f"the guest's processes are on: {found}")
        return found[0]

    # Back to order

    def mend(self) -> None:
        """Take back every fault that a scenario may have left behind, but not its consequences."""
        self.switch.wait()
        self.mend_network()
        for node, host in self.nodes.items():
            if self.switch.press("status", node) == "off":
                self.switch.press("on", node)
                self.switch.wait()
            # pkill sees no further than the node's own process namespace.
            for name in ("corosync", "libvirtd", "qemu-system-x86"):
                host.run(["pkill", "-CONT", "-x", name])
            self.make_storage_writable(node)
            if host.run(["pgrep", "-x", "libvirtd"]).returncode != 0:
                host.start_libvirtd()
        self.command("crm_resource", "--clear", "-r", RESOURCE)
        self.command("crm_resource", "--cleanup", "-r", RESOURCE)

    def cut_network(self) -> None:
        """Pull both nodes' cables; a node that reboots does not get it back by that alone."""
        for host in self.nodes.values():
            self._lab.network.cut(host.number)

    def mend_network(self) -> None:
        """Put both cables back."""
        for name, host in self.nodes.items():
            if self.switch.press("status", name) == "on":
                self._lab.network.mend(host.number)

    def engine_log(self, node: str) -> Path:
        """Pacemaker's own log of one node, all its boots together."""
        return self.nodes[node].directory / "var/log/pacemaker/pacemaker.log"

    def make_storage_read_only(self, node: str) -> None:
        """Let one node open no file for writing on the shared storage. Open files stay writable."""
        shared = str(self._lab.shared)
        self.nodes[node].run(["mount", "--bind", shared, shared])
        self.nodes[node].run(["mount", "-o", "remount,bind,ro", shared])

    def make_storage_writable(self, node: str) -> None:
        """Take make_storage_read_only back."""
        shared = str(self._lab.shared)
        if self.nodes[node].run(["mountpoint", "--quiet", shared]).returncode == 0:
            self.nodes[node].run(["umount", shared])

    def settle(self, limit_s: float, *, calm_s: float = 6) -> str:
        """Wait until all is well and stays so; "" then, else what is not after limit_s seconds."""
        end = time.monotonic() + limit_s
        calm_since: float | None = None
        while True:
            complaint = self.complaint()
            now = time.monotonic()
            if complaint:
                calm_since = None
            elif calm_since is None:
                calm_since = now
            elif now - calm_since >= calm_s:
                return ""
            if now > end:
                return complaint or "not calm for long enough"
            time.sleep(0.7)

    def complaint(self) -> str:
        """What is not as it should be now: one guest that beats, and the engine knows where."""
        nodes = tuple(sorted(self.nodes))
        processes = {name: pids for name, pids in self.observer.processes().items() if pids}
        if len(processes) != 1 or len(next(iter(processes.values()))) != 1:
            return f"QEMU processes: {processes}"
        truth = next(iter(processes))
        if self.observer.silence_s() > 2:
            return f"the guest on {truth} does not beat"
        for name, seen in self.views().items():
            if seen is None:
                return f"the engine on {name} does not answer"
            if seen.online != nodes:
                return f"the engine on {name} has online: {' '.join(seen.online)}"
            if seen.active != (truth,) or seen.trouble:
                where = " ".join(seen.active) or "nowhere"
                return f"the engine on {name} has it on {where} {seen.trouble}, it is on {truth}"
        return ""
