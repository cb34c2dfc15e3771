"""Linux namespaces held by one process each, and the network between them.

Nothing here has a name outside of its own namespace, so that any number of test runs can be under
way at once. Each holder reads a pipe whose other end is in this process: when this process goes,
however it goes, the holders go, and with them all their processes, mounts and network devices.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

#: What a process inside a host finds in its environment, beside what the caller gives. As at boot,
#: not as in the caller's shell: above all no LIBVIRT_DEFAULT_URI.
ENVIRONMENT = {
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


class LabError(RuntimeError):
    """Something in the laboratory itself failed: no verdict about the code under test."""


def wait_until_gone(pid: int, seconds: float) -> None:
    """Wait for the end of a process that need not be our child.

    Raises:
        LabError: it is still there after so many seconds.
    """
    end = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > end:
            raise LabError(f"process {pid} is still there after {seconds} s")
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Say whether the process exists and is more than a zombie.

    The first of several threads is a zombie while the others end, and they still hold the sockets.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"} or len(threads) > 1


class Namespaces:
    """New namespaces, and the process that holds them: process 1 where there is a pid namespace."""

    def __init__(self, kinds: Sequence[str], init: Sequence[str], log: Path) -> None:
        """Start the holder and wait until it says "up".

        Args:
            kinds: options of unshare(1), such as "--net".
            init: the command that holds them. It prints "up" when ready, ends when its input ends.
            log: receives the holder's standard error.

        Raises:
            LabError: it did not come up.
        """
        with log.open("ab") as errors:
            # A session of its own: control-C is for the test run, which then ends this in order.
            self._holder = subprocess.Popen(
                ["unshare", *kinds, "--", *init],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._lifeline: IO[bytes] = self._holder.stdin
        with self._holder.stdout as answer:
            if answer.readline() != b"up\n":
                self.close()
                said = log.read_text(encoding="utf-8", errors="replace").strip()
                raise LabError(f"namespaces were not made (are you root?): {said[-2000:]}")
        #: The holder's process id, as seen from outside.
        self.pid = self._holder.pid
        if "--fork" in kinds:  # then it is unshare's only child
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
            self.pid = int(children.read_text(encoding="ascii"))

    def close(self) -> None:
        """End the holder and all that runs in its pid namespace; returns when that is done."""
        self._lifeline.close()
        try:
            self._holder.wait(10)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait(10)

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """Return the command line that runs argv inside, with / as working directory."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--pid", "--net"]
        return [*enter, "--", *argv]

    def popen(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        **options: object,
    ) -> subprocess.Popen[str]:
        """Start a command inside; see end_group for how to end it early."""
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            self.command(argv),
            env={**ENVIRONMENT, **(env or {})},
            text=True,
            start_new_session=True,
            **options,
        )

    def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside and return how it ended and what it said.

        Raises:
            subprocess.TimeoutExpired: it took more than timeout seconds and was killed.
        """
        pipe = subprocess.PIPE
        with self.popen(argv, env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            except BaseException:
                end_group(process)
                raise
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def outer_pid(self, inner_pid: int) -> int | None:
        """Translate a process id of inside to the one it has outside; None if it is not there."""
        mine = Path(f"/proc/{self.pid}/ns/pid").readlink()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "ns/pid").readlink() != mine:
                    continue
                status = (entry / "status").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it ended just now, or is not for us to see
            ids = next(line for line in status.splitlines() if line.startswith("NSpid:"))
            if int(ids.split()[-1]) == inner_pid:
                return int(entry.name)
        return None


def end_group(process: subprocess.Popen[str]) -> None:
    """Kill a command that popen started, and all it started; a signal to nsenter would not.

    It must not have been waited for yet: until then nobody else can get the group's number.
    """
    os.killpg(process.pid, signal.SIGKILL)


class Network:
    """A switch in a network namespace of its own; hosts are plugged into it."""

    SUBNET = "10.99.0"

    def __init__(self, log: Path) -> None:
        """Make the switch; the holder's messages go to the log file."""
        make = "ip link add switch type bridge forward_delay 0 && ip link set switch up"
        self._switch = Namespaces(["--net"], ["sh", "-c", f"{make} && echo up && cat"], log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the switch and all its ports."""
        self._switch.close()

    def plug(self, host_pid: int, number: int) -> str:
        """Give the network namespace of a process the address 10.99.0.NUMBER on eth0; return it."""
        address = f"{self.SUBNET}.{number}"
        port = f"port{number}"
        # The kernel takes its time to remove the cable of a host that was switched off.
        self._in(self._switch.pid, "link", "del", port, may_fail=True)
        # Always the same hardware address, or the others would look for a rebooted host in vain.
        peer = ("name", "eth0", "address", f"02:00:00:00:00:{number:02x}", "netns", str(host_pid))
        self._in(self._switch.pid, "link", "add", port, "type", "veth", "peer", *peer)
        self._in(self._switch.pid, "link", "set", port, "master", "switch", "up")
        self._in(host_pid, "addr", "add", f"{address}/24", "dev", "eth0")
        self._in(host_pid, "link", "set", "eth0", "up")
        return address

    def cut(self, number: int) -> None:
        """Pull the cable of a host."""
        self._in(self._switch.pid, "link", "set", f"port{number}", "down")

    def mend(self, number: int) -> None:
        """Put the cable of a host back."""
        self._in(self._switch.pid, "link", "set", f"port{number}", "up")

    @staticmethod
    def _in(pid: int, *args: str, may_fail: bool = False) -> None:
        argv = ["nsenter", f"--target={pid}", "--net", "--", "ip", *args]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0 and not may_fail:
            raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
