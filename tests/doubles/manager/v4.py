"""API version 4: child elements instead of attributes, base fields first, the rest by alphabet."""

from __future__ import annotations

from tests.doubles.manager.documents import Documents, Shown
from tests.doubles.manager.model import GONE, Host, Payload, Vm, fixed_id
from tests.doubles.manager.nodes import Node, leaf, node

_BASE = ("actions", "name", "description", "comment", "link")


class Version4(Documents):
    version = 4

    def product_version(self) -> Node:
        major, minor, build, revision = self.profile.numbers
        return node(
            "version",
            leaf("build", build),
            leaf("full_version", self.profile.full_version),
            leaf("major", major),
            leaf("minor", minor),
            leaf("revision", revision),
        )

    def status(self, word: str, detail: str = "") -> list[Node]:
        found = [node("status", text=word)]
        return [*found, node("status_detail", text=detail)] if detail else found

    def fault(self, reason: str, detail: str) -> Node:
        return node("fault", leaf("detail", detail), leaf("reason", reason))

    def power_status(self, word: str) -> Node:
        return node("power_management", leaf("status", word))

    def in_order(self, children: list[Node]) -> list[Node]:
        return sorted(children, key=_rank)

    def statistic(self, vm: Vm, name: str, unit: str, datum: int) -> Node:
        key = fixed_id("statistic", name)
        return node(
            "statistic",
            leaf("name", name),
            leaf("kind", "gauge"),
            leaf("type", "integer"),
            leaf("unit", unit),
            node("values", node("value", leaf("datum", datum))),
            self.pointer("vm", "vms", vm.id),
            href=self.href("vms", vm.id, "statistics", key),
            id=key,
        )

    def payload(self, payload: Payload) -> Node:
        return node(
            "payload",
            node("files", *(_file(name, text) for name, text in payload.files.items())),
            leaf("type", payload.kind),
            leaf("volume_id", payload.volume_id or None),
        )

    def vm(self, vm: Vm, shown: Shown) -> Node:
        rest: list[Node | None] = [
            self.pointer("cluster", "clusters", vm.cluster.id),
            node("bios", node("boot_menu", leaf("enabled", False))),
            node(
                "cpu",
                node("topology", leaf("cores", 1), leaf("sockets", 1), leaf("threads", 1)),
            ),
            leaf("delete_protected", False),
            leaf("fqdn", f"{vm.name}.example.test" if vm.status == "up" and vm.has_agent else None),
            node("high_availability", leaf("enabled", vm.high_availability), leaf("priority", 1)),
            self.shown_host(vm, shown),
            leaf("memory", vm.memory_mib << 20),
            leaf("next_run_configuration_exists", vm.next_run is not None),
            leaf("origin", "ovirt"),
            node(
                "os",
                node("boot", node("devices", leaf("device", "hd"))),
                leaf("type", "rhel_8x64"),
            ),
            self.payloads(vm, shown),
            self._policy(vm) if shown.placement else None,
            leaf("run_once", vm.run_once) if vm.status not in GONE else None,
            self.start_time(vm),
            self.stop_time(vm),
            leaf("stateless", vm.stateless),
            *self.shown_status(vm),
            self.stop_reason(vm),
            leaf("type", "server"),
        ]
        return node(
            "vm",
            self.vm_actions(vm),
            leaf("name", vm.name),
            leaf("description", vm.description),
            leaf("comment", vm.comment),
            *(
                self.link(rel, "vms", vm.id, rel)
                for rel in ("diskattachments", "nics", "statistics")
            ),
            *self.in_order([child for child in rest if child is not None]),
            href=self.href("vms", vm.id),
            id=vm.id,
        )

    def _policy(self, vm: Vm) -> Node:
        hosts = [self.pointer("host", "hosts", host.id) for host in vm.pinned_to]
        return node(
            "placement_policy",
            leaf("affinity", vm.affinity),
            node("hosts", *hosts) if hosts else None,
        )

    def host(self, host: Host) -> Node:
        rest: list[Node | None] = [
            leaf("address", host.address),
            self.pointer("cluster", "clusters", host.cluster.id),
            leaf("external_status", "ok"),
            self.hardware(host),
            leaf("max_scheduling_memory", host.free_memory_mib << 20),
            node("power_management", leaf("enabled", host.has_power_management)),
            node("spm", leaf("priority", 5), leaf("status", "spm" if host.is_spm else "none")),
            *self.status(host.status, host.status_detail),
            self.host_summary(host),
            leaf("type", "rhel"),
        ]
        return node(
            "host",
            self.host_actions(host),
            leaf("name", host.name),
            leaf("comment", ""),
            *(self.link(rel, "hosts", host.id, rel) for rel in ("nics", "tags")),
            *self.in_order([child for child in rest if child is not None]),
            href=self.href("hosts", host.id),
            id=host.id,
        )


def _rank(child: Node) -> tuple[int, str]:
    if child.name in _BASE:
        return _BASE.index(child.name), ""
    return len(_BASE), child.name


def _file(name: str, text: str) -> Node:
    return node("file", leaf("name", name), leaf("content", text))
