"""All the engine's objects and its timers: what happens by itself, and in which order.

A timer belongs to a host or a VM and is void once that object has begun something else (its epoch
moved) or a test has set another status by hand, so a test may interfere at any moment.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Iterable
from functools import partial
from typing import Callable, NamedTuple, TypeVar, Union

from tests.doubles.manager import course
from tests.doubles.manager.clock import Clock
from tests.doubles.manager.model import (
    GONE,
    AffinityGroup,
    Cluster,
    Engine,
    Host,
    Job,
    RunningAction,
    Vm,
    fixed_id,
)
from tests.doubles.manager.profiles import Profile

SILENCE_S = 60.0  # TimeoutToResetVdsInSeconds
SILENCE_PER_VM_S = 0.5
SILENCE_SPM_S = 20.0
RECOVERY_S = 3.0
RECONNECT_S = 5.0  # after an engine restart, until the hosts have reported

Thing = Union[Host, Vm, Engine]
T = TypeVar("T")


class Step(NamedTuple):
    """One planned change; it counts only while thing is still in this epoch and status."""

    due: float
    number: int  # keeps the order of steps due at once
    thing: Thing
    epoch: int
    status: str
    then: Callable[[], None]


class World:
    """The engine's data base, its hosts' reality, and the plan of what happens next."""

    def __init__(self, profile: Profile, clock: Clock) -> None:
        self.profile = profile
        self.clock = clock
        self.lock = threading.RLock()
        self.engine = Engine()
        self.clusters: dict[str, Cluster] = {}
        self.hosts: dict[str, Host] = {}
        self.vms: dict[str, Vm] = {}
        self.groups: dict[str, AffinityGroup] = {}
        self.jobs: dict[str, Job] = {}
        self.running_actions: dict[str, RunningAction] = {}
        self.split_brains: list[str] = []
        self.data_center_status = "up"
        self.in_maintenance = False  # the engine refuses every command
        self.engine_started_at = -1e9
        self.async_s = 0.0  # how long the VDSM tasks of a stateless start take
        self._moment = 0.0
        self._plan: list[Step] = []
        self._unheard: list[Step] = []
        self._number = itertools.count()

    # Time

    @property
    def moment(self) -> float:
        """Now, or the due time of the timer that is being worked off."""
        return self._moment

    def settle(self) -> None:
        """Let everything happen that is due by now, each thing at its own time."""
        now = self.clock.now()
        self._take_up_unheard()
        while self._plan and self._plan[0].due <= now:
            step = heapq.heappop(self._plan)
            if step.thing.epoch != step.epoch or step.thing.status != step.status:
                continue
            self._moment = max(step.due, self._moment)
            if self._hears_of(step.thing):
                step.then()
                self._take_up_unheard()
            else:
                self._unheard.append(step)
        self._moment = now

    def _hears_of(self, thing: Thing) -> bool:
        """Whether the engine runs and the VM's host reports to it; else the status stays stale."""
        if not isinstance(thing, Vm):
            return True
        silent = thing.host is not None and thing.host.status == "connecting"
        return self.engine.status == "up" and not silent

    def _take_up_unheard(self) -> None:
        """What happened while the engine could not hear it becomes known now."""
        waiting, self._unheard = self._unheard, []
        for step in waiting:
            if self._hears_of(step.thing):
                heapq.heappush(self._plan, step._replace(due=self._moment))
            else:
                self._unheard.append(step)

    def begin(self, thing: Thing) -> None:
        """Void the plan of thing: a new command or event took over."""
        thing.epoch += 1

    def later(self, thing: Thing, after_s: float, then: Callable[[], None]) -> None:
        """Do then in after_s engine seconds if thing is still in today's status and epoch."""
        due = self._moment + after_s
        step = Step(due, next(self._number), thing, thing.epoch, thing.status, then)
        heapq.heappush(self._plan, step)

    # Finding things

    def vm_named(self, name: str) -> Vm:
        return _only((vm for vm in self.vms.values() if vm.name == name), name)

    def host_named(self, name: str) -> Host:
        return _only((host for host in self.hosts.values() if host.name == name), name)

    def vms_on(self, host: Host) -> list[Vm]:
        return [vm for vm in self.vms.values() if vm.host is host and vm.status not in GONE]

    def usable_hosts(self, cluster: Cluster) -> list[Host]:
        return [h for h in self.hosts.values() if h.cluster is cluster and h.status == "up"]

    # QEMU processes, the truth below the engine

    def open_process(self, vm: Vm, host: Host) -> None:
        """Start a QEMU of vm on host; a second one is what no agent may ever cause."""
        if vm.processes - {host.id}:
            others = sorted(self.hosts[key].name for key in vm.processes - {host.id})
            self.split_brains.append(f"{vm.name} on {host.name} and {', '.join(others)}")
        vm.processes.add(host.id)

    # Hosts that get lost

    def lose_host(self, host: Host, *, power: bool) -> None:
        """The engine cannot reach host any more; with power its guests are dead, too."""
        with self.lock:
            self.settle()
            host.reachable = False
            if power:
                for vm in self.vms.values():
                    vm.processes.discard(host.id)
            self.begin(host)
            for vm in self.vms_on(host):
                self.begin(vm)  # no report about it can come any more
            host.status = "connecting"
            silence_s = SILENCE_S + SILENCE_PER_VM_S * len(self.vms_on(host))
            silence_s += SILENCE_SPM_S if host.is_spm else 0.0
            self.later(host, silence_s, lambda: self._give_up(host))

    def _give_up(self, host: Host) -> None:
        host.status = "non_responsive"
        if host.is_spm:
            self.data_center_status = "non_responsive"
        for vm in self.vms_on(host):
            self.begin(vm)
            vm.status = "unknown"

    def find_host(self, host: Host) -> None:
        """Host answers again: initializing, then up with what it really runs."""
        with self.lock:
            self.settle()
            host.reachable = True
            self.begin(host)
            host.status = "initializing"
            self.later(host, RECOVERY_S, lambda: self._report(host))

    def _report(self, host: Host) -> None:
        host.status = "up"
        if host.is_spm:
            self.data_center_status = "up"
        for vm in list(self.vms.values()):
            runs_here = host.id in vm.processes
            if runs_here and vm.status in {"unknown", "down"}:
                self.begin(vm)
                vm.host, vm.status = host, "up"
            elif vm.host is host and vm.status not in GONE and not runs_here:
                course.finish(self, vm)

    # The engine itself

    def stop_engine(self, down_s: float | None = None, deploying_s: float = 0.0) -> None:
        """Down for down_s, then deploying, then up; None: until start_engine()."""
        with self.lock:
            self.settle()
            self.begin(self.engine)
            self.engine.status = "down"
            if down_s is not None:
                self.later(self.engine, down_s, partial(self._deploy, deploying_s))

    def _deploy(self, deploying_s: float) -> None:
        self.engine.status = "deploying"
        self.later(self.engine, deploying_s, self._engine_is_up)

    def start_engine(self) -> None:
        with self.lock:
            self.settle()
            self._engine_is_up()

    def _engine_is_up(self) -> None:
        self.begin(self.engine)
        self.engine.status = "up"
        self.engine_started_at = self._moment
        self._wait_for_reports()

    def _wait_for_reports(self) -> None:
        """The engine came up: hosts count as connecting until they have reported."""
        for host in self.hosts.values():
            if host.status == "up" and host.reachable:
                self.begin(host)
                host.status = "connecting"
                self.later(host, RECONNECT_S, partial(self._report, host))
            elif not host.reachable and host.status != "non_responsive":
                self.lose_host(host, power=False)

    def clear_vms(self, host: Host) -> None:
        """'Host has been rebooted': every VM of it is down, and highly available ones start again.

        Whether the host is really dead is the caller's claim; where it is wrong, QEMU processes
        go on there and the next start of such a VM is a split brain.
        """
        lost = self.vms_on(host)
        for vm in lost:
            self.begin(vm)
            vm.status, vm.host, vm.run_once = "down", None, False
            vm.command_running = False
        for vm in lost:
            candidates = [h for h in self.usable_hosts(vm.cluster) if h is not host]
            if vm.high_availability and candidates:
                course.launch(self, vm, candidates[0])

    def guest_powers_off(self, vm: Vm) -> None:
        """The guest ends by itself; the engine hears of it with the host's next report."""
        with self.lock:
            self.settle()
            vm.processes.clear()
            if vm.host is not None and vm.host.reachable and self._hears_of(vm):
                course.finish(self, vm)

    def lock_images(self, vm: Vm, for_s: float) -> None:
        """image_locked for a while, as after a snapshot or a copy; then down."""
        with self.lock:
            self.settle()
            self.begin(vm)
            vm.status = "image_locked"
            self.later(vm, for_s, partial(course.finish, self, vm))

    # Jobs

    def add_job(self, description: str) -> Job | None:
        if not self.profile.has_jobs:
            return None
        job = Job(fixed_id("job", str(next(self._number))), description)
        self.jobs[job.id] = job
        return job


def _only(found: Iterable[T], name: str) -> T:
    """The first one of that name; KeyError with the name when there is none."""
    for thing in found:
        return thing
    raise KeyError(name)
