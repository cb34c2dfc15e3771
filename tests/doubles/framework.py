"""A double of VCS's agent framework: one resource on one system, driven as VCS drives it.

One entry point at a time; AEPTimeout with every call; a call that outlives its time is killed; the
exit value of online and offline is a delay; what monitor says is judged by the limits of the type
(agent developer's guide; the defaults are those of the type, times are shorter). Everything that
happens is told to the engine in one sentence.
"""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Callable, NamedTuple, Protocol

from tests.lab.namespaces import LabError, end_group

if TYPE_CHECKING:
    from tests.lab.host import Host

BIN = Path(__file__).resolve().parents[2] / "bin"
ONLINE, OFFLINE, FAULTED = "ONLINE", "OFFLINE", "FAULTED"
UNABLE_TO_OFFLINE = "UNABLE TO OFFLINE"


class Limits(NamedTuple):
    """Static attributes of the type; times in seconds, the short ones instead of VCS's."""

    monitor_interval: float = 1.0  # 60
    offline_monitor_interval: float = 5.0  # 300
    monitor_timeout: int = 8  # 60
    online_timeout: int = 30  # 300
    offline_timeout: int = 20  # 300
    clean_timeout: int = 16  # 60
    migrate_timeout: int = 40  # 300
    online_wait_limit: int = 2
    offline_wait_limit: int = 0
    online_retry_limit: int = 0
    restart_limit: int = 0
    tolerance_limit: int = 0
    fault_on_monitor_timeouts: int = 4
    migrate_wait_limit: int = 2
    intentional_offline: int = 1


class Cluster(Protocol):
    """What the agent tells its engine."""

    def note(self, system: str, sentence: str) -> None:
        """Something happened."""

    def changed(self, system: str, state: str) -> None:
        """The resource is in another state now."""

    def migrated(self, system: str, target: str) -> None:
        """The source let go of the guest after a migration."""


class Agent:
    """The resource on one system. Orders come from the engine and wait for their turn."""

    def __init__(
        self,
        system: str,
        host: Host,
        attributes: Mapping[str, str],
        limits: Limits,
        env: Mapping[str, str],
        cluster: Cluster,
        bin_directory: Path = BIN,
    ) -> None:
        self.system = system
        self._bin = bin_directory
        self.state = OFFLINE
        self._host = host
        self._attributes = MappingProxyType(dict(attributes))
        self._limits = limits
        self._env = env
        self._cluster = cluster
        self._orders: queue.Queue[tuple[str, str]] = queue.Queue()
        self._stopped = threading.Event()
        self._last_code: int | None = 0
        self._timeouts = self._offlines = self._restarts = 0
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def order(self, what: str, target: str = "") -> None:
        """Queue one of: online, offline, migrate (to a target), probe, expect."""
        self._orders.put((what, target))

    def stop(self) -> None:
        """Order nothing any more; returns when the entry point that runs has ended."""
        self._stopped.set()
        self._orders.put(("", ""))
        self._thread.join()

    def _live(self) -> None:
        acts: Mapping[str, Callable[[str], None]] = {
            "online": lambda _target: self._online(),
            "offline": lambda _target: self._offline(),
            "migrate": self._migrate,
            "probe": lambda _target: self._monitor_and_judge(),
            "expect": lambda _target: self._expect(),
        }
        try:
            self._run("open")
            self._monitor_and_judge()
            while not self._stopped.is_set():
                try:
                    what, target = self._orders.get(timeout=self._interval())
                except queue.Empty:
                    what, target = "probe", ""
                if not self._stopped.is_set():
                    acts[what](target)
        except LabError as error:
            self._cluster.note(self.system, f"is lost: {error}")

    def _interval(self) -> float:
        if self.state in {OFFLINE, FAULTED}:
            return self._limits.offline_monitor_interval
        return self._limits.monitor_interval

    def _wait(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    # Entry points

    def _run(self, verb: str, *before: str, more: tuple[str, ...] = ()) -> int | None:
        """Exit code, None when it had to be killed."""
        timeout = getattr(self._limits, f"{verb}_timeout", 60)
        tuples = [word for name, value in self._attributes.items() for word in (name, "1", value)]
        argv = [str(self._bin / verb), "web_res", *before, *tuples, *more]
        process = self._host.popen(
            [*argv, "AEPTimeout", "1", str(timeout)],
            self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        with process:
            try:
                said = process.communicate(timeout=timeout)[1]
            except subprocess.TimeoutExpired:
                end_group(process)
                said = process.communicate()[1]
                self._cluster.note(self.system, f"{verb} is killed after {timeout} s")
                return None
            finally:
                self._host.inside  # noqa: B018 - raises if the host was lost meanwhile
        for line in said.splitlines():
            if verb != "monitor":
                self._cluster.note(self.system, f"says {line}")
        return process.returncode

    def _monitor(self) -> int | None:
        code = self._run("monitor")
        if code != self._last_code:
            self._cluster.note(self.system, f"monitor exits {code}")
            self._last_code = code
        return code

    def _clean(self, reason: int) -> bool:
        code = self._run("clean", str(reason))
        self._cluster.note(self.system, f"clean for reason {reason} exits {code}")
        return code == 0

    # Judging

    def _become(self, state: str) -> None:
        self._timeouts = self._offlines = 0
        if state == ONLINE:
            self._restarts = 0 if self.state == OFFLINE else self._restarts
        if state != self.state:
            self.state = state
            self._cluster.note(self.system, f"is {state}")
            self._cluster.changed(self.system, state)

    @staticmethod
    def _is_off(code: int | None) -> bool:
        return code in {100, 200}

    @staticmethod
    def _is_on(code: int | None) -> bool:
        return code is not None and 101 <= code <= 110

    def _monitor_and_judge(self) -> None:
        """The periodic monitor: 99 and anything strange change nothing."""
        code = self._monitor()
        if self._is_on(code):
            self._become(ONLINE)
        elif self.state == ONLINE:
            self._judge_online(code)
        elif self.state == UNABLE_TO_OFFLINE and self._is_off(code):
            self._become(OFFLINE)

    def _judge_online(self, code: int | None) -> None:
        limits = self._limits
        if code is None:
            self._timeouts += 1
            if (
                limits.fault_on_monitor_timeouts
                and self._timeouts >= limits.fault_on_monitor_timeouts
            ):
                self._fault(5)
            return
        self._timeouts = 0
        if code == 200 and limits.intentional_offline:
            self._become(OFFLINE)
        elif self._is_off(code):
            self._offlines += 1
            if self._offlines > limits.tolerance_limit:
                self._fault(4)

    def _fault(self, reason: int) -> None:
        """Clean; only when that succeeded, restart here or let the engine fail over."""
        if not self._clean(reason):
            return  # VCS tries again after the next monitor
        if self._restarts < self._limits.restart_limit and reason in {4, 5}:
            self._restarts += 1
            self._online()
            return
        self._become(FAULTED)

    # Orders

    def _online(self) -> None:
        for _ in range(self._limits.online_retry_limit + 1):
            code = self._run("online")
            self._cluster.note(self.system, f"online exits {code}")
            reason = 2
            if code is not None:
                reason = 3
                self._wait(code)
                if self._waited_for(self._is_on, self._limits.online_wait_limit):
                    self._become(ONLINE)
                    return
            if not self._clean(reason):
                return
        self._become(FAULTED)

    def _offline(self) -> None:
        code = self._run("offline")
        self._cluster.note(self.system, f"offline exits {code}")
        if code is not None:
            self._wait(code)
            if self._waited_for(self._is_off, self._limits.offline_wait_limit):
                self._become(OFFLINE)
                return
        is_clean = self._clean(0 if code is None else 1)
        is_off = is_clean and self._waited_for(self._is_off, 0)
        self._become(OFFLINE if is_off else UNABLE_TO_OFFLINE)

    def _migrate(self, target: str) -> None:
        code = self._run("migrate", more=("VCSInfo", "2", "TargetHost", target))
        self._cluster.note(self.system, f"migrate exits {code}")
        if code is None or code > 100:
            self._monitor_and_judge()
            return
        self._wait(code * 10)
        if self._waited_for(self._is_off, self._limits.migrate_wait_limit):
            self._cluster.migrated(self.system, target)
            self._become(OFFLINE)
        else:
            self._cluster.note(self.system, "still runs after the migration")

    def _expect(self) -> None:
        """The target's part of a migration."""
        if self._waited_for(self._is_on, self._limits.migrate_wait_limit):
            self._become(ONLINE)
        else:
            self._cluster.note(self.system, "did not get the guest that was migrated")

    def _waited_for(self, is_it: Callable[[int | None], bool], limit: int) -> bool:
        """Whether monitor says so at once or within so many more intervals."""
        for turn in range(limit + 1):
            if turn:
                self._wait(self._limits.monitor_interval)
            if is_it(self._monitor()):
                return True
        return False
