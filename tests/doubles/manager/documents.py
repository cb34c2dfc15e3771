"""What the two API versions have in common: which facts a document shows, and its links."""

from __future__ import annotations

import datetime as dt
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

from tests.doubles.manager import course
from tests.doubles.manager.model import GONE, AffinityGroup, Cluster, Host, Job, Payload, Vm
from tests.doubles.manager.nodes import Node, leaf, node
from tests.doubles.manager.profiles import Profile
from tests.doubles.manager.world import World

VM_ACTIONS = ("migrate", "cancelmigration", "shutdown", "start", "stop", "suspend")
_EPOCH = dt.datetime(2026, 1, 5, 8, 0, tzinfo=dt.timezone.utc)


class Shown(NamedTuple):
    """What this caller gets to see of a VM."""

    placement: bool = True  # <host> and <placement_policy>
    payloads: bool = True


class Documents(ABC):
    """Base of the serialisers of API version 3 and 4.

    Args:
        base: the absolute path that hrefs start with, e.g. "/ovirt-engine/api".
    """

    version = 0

    def __init__(self, world: World, base: str) -> None:
        self.world = world
        self.base = base

    @property
    def profile(self) -> Profile:
        return self.world.profile

    # To be defined per version

    @abstractmethod
    def product_version(self) -> Node: ...

    @abstractmethod
    def vm(self, vm: Vm, shown: Shown) -> Node: ...

    @abstractmethod
    def host(self, host: Host) -> Node: ...

    @abstractmethod
    def status(self, word: str, detail: str = "") -> list[Node]: ...

    @abstractmethod
    def fault(self, reason: str, detail: str) -> Node: ...

    @abstractmethod
    def statistic(self, vm: Vm, name: str, unit: str, datum: int) -> Node: ...

    @abstractmethod
    def power_status(self, word: str) -> Node: ...

    @abstractmethod
    def payload(self, payload: Payload) -> Node: ...

    @abstractmethod
    def in_order(self, children: list[Node]) -> list[Node]:
        """The children of an action in this version's schema order."""

    # The same in both

    def href(self, *path: str) -> str:
        return "/".join((self.base, *path))

    def link(self, rel: str, *path: str) -> Node:
        return node("link", href=self.href(*path), rel=rel)

    def pointer(self, name: str, collection: str, key: str) -> Node:
        return node(name, href=self.href(collection, key), id=key)

    def api(self, *, with_summary: bool) -> Node:
        links = [self.link(rel, rel) for rel in ("clusters", "hosts", "jobs", "vms")]
        product = node(
            "product_info",
            leaf("name", "oVirt Engine"),
            leaf("vendor", "ovirt.org"),
            self.product_version(),
        )
        return node("api", *links, product, self.summary() if with_summary else None)

    def summary(self) -> Node:
        vms = self.world.vms.values()
        counts = [
            ("vms", len(vms), sum(vm.status not in GONE for vm in vms)),
            (
                "hosts",
                len(self.world.hosts),
                sum(h.status == "up" for h in self.world.hosts.values()),
            ),
        ]
        return node(
            "summary",
            *(
                node(name, leaf("active", active), leaf("total", total))
                for name, total, active in sorted(counts)
            ),
        )

    def collection(self, name: str, members: Iterable[Node]) -> Node:
        return node(name, *members)

    def cluster(self, cluster: Cluster) -> Node:
        return node(
            "cluster",
            leaf("name", cluster.name),
            leaf("comment", "") if self.version == 4 else None,
            self.link("affinitygroups", "clusters", cluster.id, "affinitygroups")
            if self.profile.has_affinity_groups
            else None,
            href=self.href("clusters", cluster.id),
            id=cluster.id,
        )

    def affinity_group(self, group: AffinityGroup) -> Node:
        path = ("clusters", group.cluster.id, "affinitygroups", group.id)
        return node(
            "affinity_group",
            leaf("name", group.name),
            self.link("vms", *path, "vms"),
            self.pointer("cluster", "clusters", group.cluster.id),
            leaf("enforcing", group.enforcing),
            leaf("positive", group.positive),
            node("vms", *(self.pointer("vm", "vms", vm.id) for vm in group.vms))
            if self.version == 4
            else None,
            href=self.href(*path),
            id=group.id,
        )

    def job(self, job: Job) -> Node:
        return node(
            "job",
            leaf("description", job.description),
            *self.status(job.status),
            href=self.href("jobs", job.id),
            id=job.id,
        )

    def action(
        self,
        sent: ET.Element | None,
        added: Iterable[Node | None],
        *,
        href: str | None = None,
        key: str | None = None,
    ) -> Node:
        """The request's own action with fields added; a field that was sent is overwritten."""
        new = [child for child in added if child is not None]
        names = {child.name for child in new if child.name != "link"}
        echoed = [] if sent is None else [_copy(child) for child in sent]
        children = [child for child in echoed if child.name not in names] + new
        attributes = {} if href is None or key is None else {"href": href, "id": key}
        return Node("action", None, attributes, self.in_order(children))

    def statistics(self, vm: Vm) -> Node:
        """The few an agent may want; an engine has some ten."""
        return node(
            "statistics",
            self.statistic(vm, "memory.installed", "bytes", vm.memory_mib << 20),
            self.statistic(vm, "migration.progress", "percent", course.progress(self.world, vm)),
        )

    # Facts that both show

    def shown_status(self, vm: Vm) -> list[Node]:
        """Nothing at all for image_illegal: the engine has no word for it."""
        if vm.status == "image_illegal":
            return []
        detail = vm.status_detail if vm.status == "paused" else ""
        return self.status(vm.status, detail)

    def shown_host(self, vm: Vm, shown: Shown) -> Node | None:
        if vm.host is None or vm.status in GONE or not shown.placement:
            return None
        return self.pointer("host", "hosts", vm.host.id)

    def stop_reason(self, vm: Vm) -> Node | None:
        return leaf("stop_reason", vm.stop_reason) if self.profile.has_stop_reason else None

    def start_time(self, vm: Vm) -> Node | None:
        if vm.started_at is None or vm.status in GONE:
            return None
        return leaf("start_time", in_iso(vm.started_at))

    def stop_time(self, vm: Vm) -> Node | None:
        if vm.stopped_at is None or vm.status not in GONE:
            return None
        return leaf("stop_time", in_iso(vm.stopped_at))

    def payloads(self, vm: Vm, shown: Shown) -> Node | None:
        if vm.payload is None or not shown.payloads:
            return None
        return node("payloads", self.payload(vm.payload))

    def vm_actions(self, vm: Vm) -> Node:
        verbs = [*VM_ACTIONS, *(["reboot"] if self.profile.has_reboot else [])]
        verbs += ["reset"] if self.profile.has_reset else []
        return node("actions", *(self.link(verb, "vms", vm.id, verb) for verb in sorted(verbs)))

    def host_actions(self, host: Host) -> Node:
        verbs = ("activate", "deactivate", "fence")
        return node("actions", *(self.link(verb, "hosts", host.id, verb) for verb in verbs))

    def hardware(self, host: Host) -> Node | None:
        if not self.profile.has_hardware_information:
            return None
        return node(
            "hardware_information",
            leaf("manufacturer", "Example Systems"),
            leaf("product_name", "Node"),
            leaf("serial_number", host.name),
            leaf("uuid", host.hardware_uuid),
        )

    def host_summary(self, host: Host) -> Node:
        here = self.world.vms_on(host)
        return node(
            "summary",
            leaf("active", sum(vm.status == "up" for vm in here)),
            leaf("migrating", sum(vm.status == "migrating" for vm in here)),
            leaf("total", len(here)),
        )


def _copy(element: ET.Element) -> Node:
    text = (element.text or "").strip()
    children = [_copy(child) for child in element]
    return Node(element.tag, text or None, dict(element.attrib), children)


def in_iso(moment: float) -> str:
    """An engine second as the API writes times."""
    return (_EPOCH + dt.timedelta(seconds=moment)).isoformat(timespec="milliseconds")
