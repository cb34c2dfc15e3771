"""Manager: the whole double, and the sentences a test says to it."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.doubles.manager import pki
from tests.doubles.manager.accounts import Accounts, User
from tests.doubles.manager.admission import Gate
from tests.doubles.manager.api import NEW_PATH, OLD_PATH, Api
from tests.doubles.manager.clock import Clock
from tests.doubles.manager.faults import Fault
from tests.doubles.manager.messages import Reply, Request
from tests.doubles.manager.model import (
    GONE,
    AffinityGroup,
    Cluster,
    Host,
    Vm,
    fixed_id,
)
from tests.doubles.manager.profiles import PROFILES
from tests.doubles.manager.transport import Transport
from tests.doubles.manager.world import World

if TYPE_CHECKING:
    from typing_extensions import Self


class Recorded(NamedTuple):
    """One request that came in, without its secrets."""

    at: float  # engine seconds
    method: str
    path: str
    query: str
    status: int
    user: str
    login: bool  # the engine made a full login for it
    headers: dict[str, str]
    body: str

    @property
    def line(self) -> str:
        """E.g. "GET /ovirt-engine/api/vms?search=name%3Dg1"."""
        return f"{self.method} {self.path}" + (f"?{self.query}" if self.query else "")


class Manager:
    """A RHEV-M / oVirt engine on 127.0.0.1, to be used in a with statement.

    Args:
        profile: engine release, "3.1" to "4.5".
        hosts: names of hosts to begin with, all up, in cluster "c1".
        vms: names of VMs to begin with, all down, in cluster "c1".
        scale: engine seconds per real second; 0 stands still but for advance().
        certificate: one of pki.VARIANTS; ca_file is the CA of the valid one.
        basic: False is an engine behind Keycloak, which refuses HTTP Basic.
    """

    def __init__(
        self,
        profile: str = "4.4",
        *,
        hosts: Sequence[str] = (),
        vms: Sequence[str] = (),
        scale: float = 1.0,
        certificate: str = "valid",
        user: str = "admin@internal",
        password: str = "secret",  # noqa: S107 - a double keeps no secrets
        basic: bool = True,
        lock_after: int = 5,
        idle_minutes: float = 30.0,
        port: int = 0,
    ) -> None:
        self.clock = Clock(scale)
        self.world = World(PROFILES[profile], self.clock)
        self.accounts = Accounts(lock_after, idle_minutes)
        self.user_name, self.password = user, password
        self.faults: list[Fault] = []
        self._records: list[Recorded] = []
        self._directory = tempfile.TemporaryDirectory(prefix="manager-double-")
        certificates = pki.make(certificate)
        self.ca_file = str(Path(self._directory.name, "ca.pem"))
        Path(self.ca_file).write_bytes(certificates.ca)
        self._api = Api(self.world, self.accounts, certificates.ca)
        self._api.gate = Gate(self.world.profile, self.accounts, basic)
        self._transport = Transport(
            self._handle, self._context(certificates), self.clock, ("127.0.0.1", port)
        )
        self.add_user(user, password)
        for name in hosts:
            self.add_host(name)
        for name in vms:
            self.add_vm(name)

    def _context(self, certificates: pki.Certificates) -> ssl.SSLContext:
        chain = Path(self._directory.name, "server.pem")
        chain.touch(mode=0o600)
        chain.write_bytes(certificates.key + certificates.chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def __enter__(self) -> Self:
        self._transport.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.clock.close()
        self._transport.close()
        self._directory.cleanup()

    # Where it is

    @property
    def port(self) -> int:
        return self._transport.port

    @property
    def root(self) -> str:
        """Scheme, host and port, e.g. "https://127.0.0.1:40123"."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def path(self) -> str:
        """The API's path that this release documents."""
        return NEW_PATH if self.world.profile.has_new_path else OLD_PATH

    @property
    def url(self) -> str:
        return self.root + self.path

    # What it manages

    def add_cluster(self, name: str, *, data_center: str = "Default") -> Cluster:
        cluster = Cluster(name, fixed_id("cluster", f"{data_center}/{name}"), data_center)
        self.world.clusters[cluster.id] = cluster
        return cluster

    def cluster(self, name: str) -> Cluster:
        """The cluster of that name, made if it is new."""
        for cluster in self.world.clusters.values():
            if cluster.name == name:
                return cluster
        return self.add_cluster(name)

    def add_host(self, name: str, *, cluster: str = "c1", **fields: Any) -> Host:
        """An up host; fields are those of model.Host."""
        host = Host(
            name,
            fixed_id("host", name),
            self.cluster(cluster),
            address=fields.pop("address", f"{name}.example.test"),
            hardware_uuid=fields.pop("hardware_uuid", fixed_id("hardware", name).upper()),
            vdsm_id=fields.pop("vdsm_id", fixed_id("hardware", name).upper()),
            world=self.world,
            **fields,
        )
        self.world.hosts[host.id] = host
        return host

    def add_vm(
        self, name: str, status: str = "down", host: str = "", *, cluster: str = "c1", **fields: Any
    ) -> Vm:
        """A VM, running on host if the status is one that needs one; fields as in model.Vm."""
        owner = self.cluster(cluster)
        key = fields.pop("id", fixed_id("vm", f"{owner.id}/{name}"))
        vm = Vm(name, key, owner, world=self.world, **fields)
        self.world.vms[vm.id] = vm
        self._put(vm, status, host)
        return vm

    def put(self, name: str, status: str, host: str = "") -> Vm:
        """Set a VM's status and host together, and whether its process exists there."""
        vm = self.vm(name)
        self._put(vm, status, host)
        return vm

    def _put(self, vm: Vm, status: str, host: str) -> None:
        with self.world.lock:
            self.world.begin(vm)
            vm.status = status
            vm.host = self.world.host_named(host) if host else None
            runs = vm.host is not None and status not in GONE
            vm.processes = {vm.host.id} if runs and vm.host is not None else set()
            vm.has_saved_memory = status == "suspended"

    def add_affinity_group(
        self, name: str, vms: Sequence[str], *, positive: bool = True, enforcing: bool = True
    ) -> AffinityGroup:
        members = [self.vm(vm) for vm in vms]
        group = AffinityGroup(
            name, fixed_id("group", name), members[0].cluster, positive, enforcing, members
        )
        self.world.groups[group.id] = group
        return group

    def add_user(self, name: str, password: str, role: str = "SuperUser", **fields: Any) -> User:
        """Fields as in accounts.User, e.g. vms={"g1"}."""
        user = User(name, password, role, **fields)
        self.accounts.users[name] = user
        return user

    def vm(self, name: str) -> Vm:
        """The VM as it is now; ask again after time has passed."""
        self.settle()
        return self.world.vm_named(name)

    def host(self, name: str) -> Host:
        self.settle()
        return self.world.host_named(name)

    def user(self, name: str) -> User:
        return self.accounts.users[name]

    @property
    def split_brains(self) -> list[str]:
        """Every time a second process of one VM was started, e.g. "g1 on h2 and h1"."""
        self.settle()
        return self.world.split_brains

    # Time, the engine itself, and trouble

    def settle(self) -> None:
        with self.world.lock:
            self.world.settle()

    def advance(self, seconds: float) -> None:
        """Let engine time pass at once."""
        self.clock.advance(seconds)
        self.settle()

    def stop_engine(self) -> None:
        """503 from now on; all sessions are lost."""
        self.world.stop_engine()
        self.accounts.forget_sessions()

    def start_engine(self) -> None:
        self.world.start_engine()

    def restart_engine(self, down_s: float = 20.0, deploying_s: float = 10.0) -> None:
        """503, then 404 while it deploys, then up; all sessions are lost."""
        self.world.stop_engine(down_s, deploying_s)
        self.accounts.forget_sessions()

    def forget_sessions(self) -> None:
        """Every token and cookie is void: the next use of one is a 401."""
        self.accounts.forget_sessions()

    def fault(
        self,
        kind: str,
        path: str = "",
        *,
        method: str = "",
        times: int | None = None,
        pause_s: float = 1.0,
    ) -> Fault:
        """Spoil requests whose path contains (or, with *, matches) path; see faults."""
        return Fault(self.faults, kind, path=path, method=method, times=times, pause_s=pause_s)

    # What it was asked

    @property
    def requests(self) -> list[Recorded]:
        return list(self._records)

    @property
    def logins(self) -> int:
        """Full logins the engine has made, through Basic or a token."""
        return self.accounts.logins

    @property
    def commands(self) -> list[str]:
        """What was ordered, accepted or not, e.g. ["start g1", "fence h1", "update g2"]."""
        return [text for text in map(self._command, self._records) if text]

    def _command(self, record: Recorded) -> str:
        parts = record.path.split("/")
        for name, things in (("vms", self.world.vms), ("hosts", self.world.hosts)):
            if record.method not in {"POST", "PUT"} or name not in parts:
                continue
            below = parts[parts.index(name) + 1 :]
            thing = things.get(below[0]) if below else None
            verb = below[1] if len(below) > 1 else "update"
            return f"{verb} {below[0] if thing is None else thing.name}"
        return ""

    def forget_requests(self) -> None:
        """Begin counting anew."""
        self._records.clear()
        self.accounts.logins = self.accounts.failed_logins = 0

    @property
    def connections(self) -> int:
        """TCP connections so far."""
        return self._transport.connections

    @property
    def failed_handshakes(self) -> int:
        return self._transport.failed_handshakes

    # The transport's side

    def _handle(self, request: Request) -> Reply:
        with self.world.lock:
            self.world.settle()
            rule = next((fault for fault in self.faults if fault.takes(request)), None)
            if rule is None:
                reply = self._api.answer(request)
            else:
                reply = rule.apply(request, self._api.answer)
            self._records.append(_recorded(request, reply, self.world.moment))
            return reply


_SECRET_HEADERS = frozenset({"authorization", "cookie", "jsessionid"})


def _recorded(request: Request, reply: Reply, moment: float) -> Recorded:
    headers = {
        name: "(redacted)" if name in _SECRET_HEADERS else value
        for name, value in request.headers.items()
    }
    secret = "/sso" in request.path
    body = "(redacted)" if secret else request.body.decode(errors="replace")
    return Recorded(
        moment,
        request.method,
        request.path,
        request.query,
        reply.status,
        reply.user,
        reply.login,
        headers,
        body,
    )
