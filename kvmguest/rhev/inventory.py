"""Which VM is the guest, and which host is this node: found once, kept, and doubted when it counts.

A name is not a key in RHEV-M: the search ignores case and knows wildcards, and 4.x allows one name
per data center. So what is found is compared, and the VM's id is kept with the name it must have.
This node is told by RHEV-M's own marks of a host, best first, and only by exactly one hit.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

from kvmguest.arglist import GuestConfig
from kvmguest.errors import BackendError, GuestAmbiguous, GuestNotFound
from kvmguest.rhev import identity, wire
from kvmguest.rhev.session import Session
from kvmguest.rhev.wire import Host, Vm
from kvmguest.statedir import StateDir
from kvmguest.states_rhev import ELSEWHERE, HERE, NOWHERE, UNSURE, depends_on_host

HW_ID_SINCE = (4, 3)
"""The first engine that can search hosts by vdsm's id."""


class Where(NamedTuple):
    """Where a VM is: one of states_rhev's places, its host's name, and why that is unsure."""

    place: str
    host: str = ""
    why: str = ""


class Inventory:
    """The guest's VM and this node's host, seen through one session."""

    def __init__(
        self, config: GuestConfig, session: Session, memory: StateDir, node: identity.Identity
    ) -> None:
        self._config = config
        self._guest = config.guest
        self._cluster = config.rhevm_info.cluster
        self._session = session
        self._memory = memory
        self._node = node
        self._me: Host | None = None
        self._vm_name = f"{config.resource}.vm"
        self._vm_key = f"{session.key} {config.guest} {self._cluster}"
        self._host_name = f"{config.resource}.host"
        self._host_key = f"{session.key} {self._cluster} {node.mark()}"

    # The VM

    def vm(self) -> Vm:
        """The guest's VM: one request when its id is known.

        Raises:
            GuestNotFound: RHEV-M has none of exactly this name in RHEVMInfo.Cluster.
            GuestAmbiguous: it has several.
        """
        known = self._recall(self._vm_name, self._vm_key)
        if known:
            try:
                vm = wire.read_vm(self._session.get(f"/vms/{known[0]}"))
            except GuestNotFound:
                vm = None
            if vm and vm.name == self._guest and self._marks(vm) == known:
                return vm
        return self._search_vm()

    def _search_vm(self) -> Vm:
        found = [
            wire.read_vm(element) for element in self._session.find("vms", "name", self._guest)
        ]
        named = [vm for vm in found if vm.name == self._guest]
        exact = named
        if named and self._cluster:
            cluster_id = self._cluster_id()
            exact = [vm for vm in named if vm.cluster_id == cluster_id]
        if len(exact) > 1:
            raise GuestAmbiguous(
                f"RHEV-M has {len(exact)} VMs called {self._guest}; rename one, or set "
                f"RHEVMInfo.Cluster to tell them apart"
            )
        if named and not exact:
            # Not this node's to run: a VM is started on the hosts of its own cluster only.
            clusters = " and ".join(sorted({self._cluster_label(vm.cluster_id) for vm in named}))
            raise GuestNotFound(
                f"RHEV-M has a VM called {self._guest} only in the cluster {clusters}, and "
                f"RHEVMInfo.Cluster is {self._cluster}; correct it, or move the VM"
            )
        if not exact:
            others = ", ".join(sorted({vm.name for vm in found})[:5])
            similar = f" (but {others})" if others else ""
            raise GuestNotFound(
                f"RHEV-M has no VM called exactly {self._guest}{similar}; correct GuestName, "
                f"RHEVMInfo.Cluster, or the user's role in RHEV-M"
            )
        self._keep(self._vm_name, self._vm_key, self._marks(exact[0]))
        # A list may leave out what a single VM shows.
        return wire.read_vm(self._session.get(f"/vms/{exact[0].id}"))

    def _marks(self, vm: Vm) -> list[str]:
        """What must stay the same for a VM to be the one that was found."""
        return [vm.id, vm.cluster_id] if self._cluster else [vm.id]

    # The hosts

    def where(self, vm: Vm, *, is_certain: bool = False) -> Where:
        """Where the VM is, seen from this node.

        What was learnt of hosts before is used, unless ``is_certain``: before anything is done to
        a VM, and before a lost one is called "not here", this node is identified anew.
        """
        if not vm.host_id or not depends_on_host(vm.status, vm.detail):
            return Where(NOWHERE)
        known = {} if is_certain else self._known_hosts()
        if vm.host_id in known:
            place, _colon, name = known[vm.host_id].partition(":")
            return Where(place, name)
        me, why = self.this_host()
        if me is None:
            return Where(UNSURE, self._host_label(vm.host_id), why)
        if vm.host_id == me.id:
            self._learn(me.id, HERE, me.name)
            return Where(HERE, me.name)
        name = self._host_label(vm.host_id)
        self._learn(vm.host_id, ELSEWHERE, name)
        return Where(ELSEWHERE, name)

    def host(self, host_id: str) -> Host:
        """One host as it is now."""
        return wire.read_host(self._session.get(f"/hosts/{host_id}"))

    def cluster_hosts(self) -> list[Host]:
        """All hosts of RHEVMInfo.Cluster; of RHEV-M where no cluster is set."""
        if not self._cluster:
            return [wire.read_host(element) for element in self._session.get("/hosts")]
        cluster_id = self._cluster_id()
        found = self._session.find("hosts", "cluster", self._cluster)
        hosts = [wire.read_host(element) for element in found]
        return [host for host in hosts if host.cluster_id == cluster_id]

    def this_host(self) -> tuple[Host | None, str]:
        """This node in RHEV-M, or None and why it is not known; asked once per process."""
        if self._me is None:
            self._me, why = self._find_this_host()
            return self._me, why
        return self._me, ""

    def _find_this_host(self) -> tuple[Host | None, str]:
        try:
            hosts = self.cluster_hosts()
        except GuestNotFound as error:
            return None, str(error)
        if not hosts:
            return None, "the user sees no host of the cluster"
        in_cluster = {host.id for host in hosts}
        if self._node.vdsm_ids and self._session.api.engine >= HW_ID_SINCE:
            vdsm_id = self._node.vdsm_ids[0]
            found = [wire.read_host(e) for e in self._session.find("hosts", "hw_id", vdsm_id)]
            if len(found) == 1 and found[0].id in in_cluster:
                return found[0], ""
            if len(found) == 1:
                return None, f"this node is {found[0].name}, which is in another cluster"
        return identify(self._node, hosts)

    def _cluster_id(self) -> str:
        found = self._session.find("clusters", "name", self._cluster)
        ids = [
            e.get("id", "") for e in found if (e.findtext("name") or "").strip() == self._cluster
        ]
        if len(ids) != 1:
            raise GuestNotFound(
                f"RHEV-M shows {len(ids) or 'no'} cluster of exactly the name {self._cluster}; "
                f"correct RHEVMInfo.Cluster, or the user's role in RHEV-M"
            )
        return ids[0]

    def _host_label(self, host_id: str) -> str:
        try:
            return self.host(host_id).name or host_id
        except BackendError:
            return f"host {host_id}"

    def _cluster_label(self, cluster_id: str) -> str:
        try:
            found = self._session.get(f"/clusters/{cluster_id}").findtext("name")
        except BackendError:
            found = ""
        return found or cluster_id or "that this user may not see"

    # What is kept between processes: a key that must fit, then lines

    def _known_hosts(self) -> dict[str, str]:
        lines = self._recall(self._host_name, self._host_key)
        return {host_id: rest for host_id, _blank, rest in (line.partition(" ") for line in lines)}

    def _learn(self, host_id: str, place: str, name: str) -> None:
        """Keep this node's host and the last other one that the VM was on."""
        known = self._known_hosts()
        known = {key: rest for key, rest in known.items() if not rest.startswith(f"{place}:")}
        known[host_id] = f"{place}:{name}"
        lines = [f"{key} {rest}" for key, rest in known.items()]
        self._keep(self._host_name, self._host_key, lines)

    def _recall(self, name: str, key: str) -> list[str]:
        lines = (self._memory.read(name) or "").split("\n")
        return lines[1:] if lines[0] == key else []

    def _keep(self, name: str, key: str, lines: list[str]) -> None:
        self._memory.write(name, "\n".join([key, *lines]))


def identify(node: identity.Identity, hosts: list[Host]) -> tuple[Host | None, str]:
    """The one host that is this node: by hardware UUID, address, name, in that order.

    A host whose hardware is known to be another machine's is not taken for its address or name,
    unless the site maps the name itself. A hardware UUID that vdsm.id stands in for may be another
    board's too, so the address or the name must agree.
    """
    ids = node.vdsm_ids
    others = {h.id for h in hosts if ids and identity.is_telling(h.uuid) and h.uuid not in ids}
    shared = {h.id for h in hosts if h.uuid in ids[1:]}
    rules: tuple[tuple[str, Callable[[Host], bool]], ...] = (
        ("[hosts] name", lambda host: bool(node.mapped) and host.name == node.mapped),
        ("hardware UUID", lambda host: bool(host.uuid) and host.uuid in ids),
        ("address", lambda h: h.id not in others and _is_address_of(h, node)),
        ("name", lambda h: h.id not in others and any(h.name == name for name in node.names)),
    )
    candidates = hosts
    for rule, fits in rules:
        hits = [host for host in candidates if fits(host)]
        if len(hits) == 1 and not (rule == "hardware UUID" and hits[0].id in shared):
            return hits[0], ""
        candidates = hits or candidates
    names = ", ".join(sorted(host.name for host in hosts)[:8])
    return None, f"this node ({', '.join(node.names)}) is not told apart among its hosts {names}"


def _is_address_of(host: Host, node: identity.Identity) -> bool:
    address = host.address.lower()
    if address in {name.lower() for name in node.names}:
        return True
    return bool(address) and identity.is_own_address(address)
