"""API version 3: states inside <status>, many attributes, two generations of <payload>.

Engines 3.1 to 3.6 speak nothing else; 4.0 to 4.3 speak it on request.
"""

from __future__ import annotations

from tests.doubles.manager.documents import Documents, Shown
from tests.doubles.manager.model import GONE, Host, Payload, Vm, fixed_id
from tests.doubles.manager.nodes import Node, leaf, node

_ACTION_LAST = ("status", "fault", "link")


class Version3(Documents):
    version = 3

    def product_version(self) -> Node:
        major, minor, build, revision = self.profile.numbers
        full = leaf("full_version", self.profile.full_version)
        return node(
            "version",
            full if self.profile.release >= (3, 5) else None,
            major=major,
            minor=minor,
            build=build,
            revision=revision,
        )

    def status(self, word: str, detail: str = "") -> list[Node]:
        return [node("status", leaf("state", word), leaf("detail", detail or None))]

    def fault(self, reason: str, detail: str) -> Node:
        return node("fault", leaf("reason", reason), leaf("detail", detail))

    def power_status(self, word: str) -> Node:
        return node("power_management", *self.status(word))

    def in_order(self, children: list[Node]) -> list[Node]:
        """Status, fault and links come last; what was sent keeps its own order."""
        return sorted(
            children,
            key=lambda child: (
                _ACTION_LAST.index(child.name) + 1 if child.name in _ACTION_LAST else 0
            ),
        )

    def statistic(self, vm: Vm, name: str, unit: str, datum: int) -> Node:
        key = fixed_id("statistic", name)
        return node(
            "statistic",
            leaf("name", name),
            node("values", node("value", leaf("datum", datum)), type="INTEGER"),
            leaf("type", "GAUGE"),
            leaf("unit", unit.upper()),
            self.pointer("vm", "vms", vm.id),
            href=self.href("vms", vm.id, "statistics", key),
            id=key,
        )

    def payload(self, payload: Payload) -> Node:
        if self.profile.single_file_payload:
            files = [
                node("file", leaf("content", text), name=name)
                for name, text in payload.files.items()
            ]
            return node("payload", *files, type=payload.kind)
        listed = [
            node("file", leaf("name", name), leaf("content", text))
            for name, text in payload.files.items()
        ]
        return node(
            "payload",
            node("files", *listed),
            leaf("volume_id", payload.volume_id or None),
            type=payload.kind,
        )

    def vm(self, vm: Vm, shown: Shown) -> Node:
        runs = vm.status not in GONE
        return node(
            "vm",
            self.vm_actions(vm),
            leaf("name", vm.name),
            leaf("description", vm.description),
            leaf("comment", vm.comment) if self.profile.release >= (3, 3) else None,
            *(self.link(rel, "vms", vm.id, rel) for rel in ("disks", "nics", "statistics")),
            leaf("type", "server"),
            *self.shown_status(vm),
            self.stop_reason(vm),
            leaf("memory", vm.memory_mib << 20),
            node("cpu", node("topology", sockets=1, cores=1)),
            node("os", node("boot", dev="hd"), type="rhel_6x64"),
            node("high_availability", leaf("enabled", vm.high_availability), leaf("priority", 1)),
            self.shown_host(vm, shown),
            self.pointer("cluster", "clusters", vm.cluster.id),
            self.start_time(vm),
            self.stop_time(vm),
            leaf("origin", "ovirt"),
            leaf("stateless", vm.stateless),
            leaf("delete_protected", False),
            self._policy(vm) if shown.placement else None,
            self.payloads(vm, shown),
            leaf("run_once", vm.run_once) if runs and self.profile.release >= (3, 3) else None,
            node("guest_info", leaf("fqdn", f"{vm.name}.example.test"))
            if vm.status == "up" and vm.has_agent
            else None,
            leaf("next_run_configuration_exists", vm.next_run is not None)
            if self.profile.stores_next_run
            else None,
            href=self.href("vms", vm.id),
            id=vm.id,
        )

    def _policy(self, vm: Vm) -> Node:
        pointers = [self.pointer("host", "hosts", host.id) for host in vm.pinned_to]
        several = self.profile.has_host_list_in_policy and pointers
        return node(
            "placement_policy",
            pointers[0] if pointers and not several else None,
            leaf("affinity", vm.affinity),
            node("hosts", *pointers) if several else None,
        )

    def host(self, host: Host) -> Node:
        modern = self.profile.release >= (3, 6)
        return node(
            "host",
            self.host_actions(host),
            leaf("name", host.name),
            leaf("comment", "") if self.profile.release >= (3, 3) else None,
            *(self.link(rel, "hosts", host.id, rel) for rel in ("nics", "tags")),
            leaf("address", host.address),
            *self.status(host.status, host.status_detail),
            leaf("external_status", "ok") if modern else None,
            self.pointer("cluster", "clusters", host.cluster.id),
            leaf("type", "rhel"),
            node("storage_manager", text=host.is_spm, priority=5),
            node("spm", leaf("priority", 5), *self.status("spm" if host.is_spm else "none")),
            node("power_management", leaf("enabled", host.has_power_management), type="ipmilan"),
            self.hardware(host),
            leaf("max_scheduling_memory", host.free_memory_mib << 20),
            self.host_summary(host),
            href=self.href("hosts", host.id),
            id=host.id,
        )
