"""What GET, PUT and POST do below the API's base path, once the caller is known."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Callable, NamedTuple, TypeVar

from tests.doubles.manager import actions, bodies, fencing, updates
from tests.doubles.manager.accounts import User
from tests.doubles.manager.documents import Documents, Shown
from tests.doubles.manager.model import Cluster, Host, RunningAction, Vm
from tests.doubles.manager.nodes import Node, leaf, node
from tests.doubles.manager.profiles import Profile
from tests.doubles.manager.refusal import BAD, NotFound, Refused
from tests.doubles.manager.search import Fields, SearchSyntaxError, search
from tests.doubles.manager.world import World

T = TypeVar("T", Vm, Host, Cluster)
_TRUE = frozenset({"true", "t", "yes", "y", "1"})


class Call(NamedTuple):
    """One authenticated API call."""

    world: World
    documents: Documents
    user: User
    filtered: bool
    all_content: bool
    path: tuple[str, ...]  # below the base, e.g. ("vms", "<id>", "start")
    parameters: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    status: int
    document: Node
    ready_at: float | None = None


def answer(method: str, call: Call) -> Answer | None:
    """The answer, or None if the path exists in no method.

    Raises:
        Refused, NotFound: as the resource says.
    """
    shape = (method, call.path[:1], len(call.path))
    handler = _ROUTES.get(shape)
    return None if handler is None else handler(call)


def _check_query(call: Call) -> None:
    may_query(call.user, call.world.profile, filtered=call.filtered)


def may_query(user: User, profile: Profile, *, filtered: bool) -> None:
    """Reading everything needs an administrator role; reading one's own needs the filter.

    Raises:
        Refused: 400.
    """
    if not filtered and not user.is_admin:
        verb = "Query" if profile.speaks_v4 else "query"
        raise Refused(BAD, f"{verb} execution failed due to insufficient permissions.", plain=True)


# Lists


def _listed(call: Call, things: Sequence[T], fields: Fields[T]) -> list[T]:
    """Search, permissions and max, in the order the release applies them."""
    _check_query(call)
    found = list(things)
    text = call.parameters.get("search", "")
    ignored = call.filtered and call.world.profile.filter_ignores_search
    if text and not ignored:
        sensitive = call.parameters.get("case_sensitive", "").lower() in _TRUE
        try:
            found = search(text, found, fields, case_sensitive=sensitive)
        except SearchSyntaxError:
            return []
    limit = call.parameters.get("max", "")
    most = int(limit) if limit.isdigit() else call.world.profile.default_list_limit
    return found[:most] if most else found


def _vms(call: Call) -> Answer:
    visible = [vm for vm in call.world.vms.values() if _sees(call, vm)]
    visible.sort(key=lambda vm: vm.name)
    fields: Fields[Vm] = {
        "name": lambda vm: vm.name,
        "status": lambda vm: vm.status.replace("_", ""),
        "cluster": lambda vm: vm.cluster.name,
        "datacenter": lambda vm: vm.cluster.data_center,
        "comment": lambda vm: vm.comment,
        "description": lambda vm: vm.description,
        "host": _host_name,
        "hosts.name": _host_name,
        "host.name": _host_name,
        "type": lambda _vm: "server",
    }
    if call.world.profile.searches_vm_id:
        fields["id"] = lambda vm: vm.id
    hides = call.world.profile.list_hides_payloads and not call.all_content
    shown = _shown(call)._replace(payloads=call.user.is_admin and not hides)
    found = _listed(call, visible, fields)
    return Answer(200, node("vms", *(call.documents.vm(vm, shown) for vm in found)))


def _host_name(vm: Vm) -> str:
    return "" if vm.host is None else vm.host.name


def _hosts(call: Call) -> Answer:
    fields: Fields[Host] = {
        "name": lambda host: host.name,
        "address": lambda host: host.address,
        "status": lambda host: host.status.replace("_", ""),
        "cluster": lambda host: host.cluster.name,
        "datacenter": lambda host: host.cluster.data_center,
        "id": lambda host: host.id,
        "comment": lambda _host: "",
        "type": lambda _host: "rhel",
    }
    if call.world.profile.searches_hw_id:
        fields["hw_id"] = lambda host: host.vdsm_id
    hosts = [h for h in call.world.hosts.values() if call.user.is_admin]
    hosts.sort(key=lambda host: host.name)
    found = _listed(call, hosts, fields)
    return Answer(200, node("hosts", *(call.documents.host(host) for host in found)))


def _clusters(call: Call) -> Answer:
    fields: Fields[Cluster] = {
        "name": lambda cluster: cluster.name,
        "datacenter": lambda cluster: cluster.data_center,
        "id": lambda cluster: cluster.id,
    }
    clusters = sorted(call.world.clusters.values(), key=lambda cluster: cluster.name)
    if not call.user.is_admin:
        used = {vm.cluster for vm in call.world.vms.values() if call.user.sees(vm.name)}
        clusters = [cluster for cluster in clusters if cluster in used]
    found = _listed(call, clusters, fields)
    return Answer(200, node("clusters", *(call.documents.cluster(c) for c in found)))


def _jobs(call: Call) -> Answer:
    _check_query(call)
    return Answer(200, node("jobs", *(call.documents.job(j) for j in call.world.jobs.values())))


# One object


def _sees(call: Call, vm: Vm) -> bool:
    return not call.filtered or call.user.is_admin or call.user.sees(vm.name)


def _shown(call: Call) -> Shown:
    return Shown(placement=not call.filtered, payloads=call.user.is_admin)


def _one(things: dict[str, T], key: str) -> T:
    found = things.get(key)
    if found is None:
        raise NotFound
    return found


def _visible_vm(call: Call) -> Vm:
    _check_query(call)
    vm = _one(call.world.vms, call.path[1])
    if not _sees(call, vm):
        raise NotFound
    return vm


def _vm(call: Call) -> Answer:
    return Answer(200, call.documents.vm(_visible_vm(call), _shown(call)))


def _statistics(call: Call) -> Answer:
    vm = _visible_vm(call)
    if call.path[2] != "statistics":
        raise NotFound
    return Answer(200, call.documents.statistics(vm))


def _update_vm(call: Call) -> Answer:
    vm = _visible_vm(call)
    body = bodies.parse(call.body, "vm")
    updates.update(call.world, call.user, vm, body, call.documents.version, filtered=call.filtered)
    return Answer(200, call.documents.vm(vm, _shown(call)))


def _host(call: Call) -> Answer:
    _check_query(call)
    if not call.user.is_admin:
        raise NotFound
    return Answer(200, call.documents.host(_one(call.world.hosts, call.path[1])))


def _cluster(call: Call) -> Answer:
    _check_query(call)
    return Answer(200, call.documents.cluster(_one(call.world.clusters, call.path[1])))


def _job(call: Call) -> Answer:
    job = call.world.jobs.get(call.path[1])
    if job is None:
        raise NotFound
    return Answer(200, call.documents.job(job))


# Affinity groups, read only


def _affinity_groups(call: Call) -> Answer:
    _check_query(call)
    cluster = _one(call.world.clusters, call.path[1])
    if call.path[2] != "affinitygroups" or not call.world.profile.has_affinity_groups:
        raise NotFound
    groups = [group for group in call.world.groups.values() if group.cluster is cluster]
    documents = [call.documents.affinity_group(group) for group in groups]
    return Answer(200, node("affinity_groups", *documents))


def _affinity_group(call: Call) -> Answer:
    for document in _affinity_groups(call).document.children:
        if document.attributes["id"] == call.path[3]:
            return Answer(200, document)
    raise NotFound


def _affinity_group_vms(call: Call) -> Answer:
    group = call.world.groups.get(call.path[3])
    if group is None or call.path[4] != "vms":
        raise NotFound
    _check_query(call)
    return Answer(200, node("vms", *(call.documents.vm(vm, _shown(call)) for vm in group.vms)))


# Actions


def _vm_action(call: Call) -> Answer:
    verb = call.path[2]
    if verb not in actions.VERBS:
        raise NotFound
    body = bodies.parse(call.body, "action")
    vm = call.world.vms.get(call.path[1])
    once = body.find("vm")
    if vm is None:
        return _failed(call, body, actions.unknown_vm(verb, has_vm=once is not None))
    command = actions.Command(
        call.world, call.user, vm, body, call.documents.version, call.filtered
    )
    try:
        outcome = actions.perform(command, verb)
    except Refused as refusal:
        if refusal.is_early:
            raise
        return _failed(call, body, refusal)
    pointer = call.documents.pointer("vm", "vms", vm.id)
    if once is not None:
        pointer = pointer._replace(children=_echo(once))
    wanted_async = bodies.boolean(body, "async")
    if outcome.running is not None and wanted_async is not False:
        return _accepted(call, body, outcome.running, pointer)
    ready_at = None if outcome.running is None else outcome.running.done_at
    job = None if outcome.job is None else call.documents.pointer("job", "jobs", outcome.job.id)
    added = [job, *call.documents.status("complete"), pointer]
    return Answer(200, call.documents.action(body, added), ready_at)


def _echo(element: ET.Element) -> list[Node]:
    return [
        Node(child.tag, (child.text or "").strip() or None, dict(child.attrib), _echo(child))
        for child in element
    ]


def _failed(call: Call, body: ET.Element | None, refusal: Exception) -> Answer:
    """A refused action answers with <action>, not with <fault>."""
    if not isinstance(refusal, Refused):
        raise refusal
    fault = call.documents.fault(refusal.reason, refusal.detail)
    document = call.documents.action(body, [fault, *call.documents.status("failed")])
    return Answer(refusal.http_code(call.world.profile), document)


def _accepted(call: Call, body: ET.Element, running: RunningAction, pointer: Node) -> Answer:
    documents = call.documents
    word = "complete" if running.done_at <= call.world.moment else "in_progress"
    added = [
        leaf("async", value=True),
        documents.link("parent", *running.path.split("/")[:2]),
        documents.link("replay", running.path),
        *documents.status(word),
        pointer,
    ]
    href = documents.href(running.path, running.id)
    return Answer(202, documents.action(body, added, href=href, key=running.id))


def _running_action(call: Call) -> Answer:
    running = call.world.running_actions.get(call.path[3])
    if running is None or running.path != "/".join(call.path[:3]):
        raise NotFound
    pointer = call.documents.pointer("vm", "vms", call.path[1])
    return _accepted(call, ET.Element("action"), running, pointer)._replace(status=200)


def _fence(call: Call) -> Answer:
    if call.path[2] != "fence":
        raise NotFound
    body = bodies.parse(call.body, "action")
    host = call.world.hosts.get(call.path[1])
    if host is None:
        return _failed(call, body, Refused(BAD, "Cannot fence Host. Host does not exist."))
    try:
        fenced = fencing.fence(call.world, call.user, host, body)
    except Refused as refusal:
        return _failed(call, body, refusal)
    if fenced.failure is not None:
        return _failed(call, body, fenced.failure)._replace(status=200)
    power = None if fenced.power is None else call.documents.power_status(fenced.power)
    job = None if fenced.job is None else call.documents.pointer("job", "jobs", fenced.job.id)
    added = [
        job,
        power,
        *call.documents.status("complete"),
        call.documents.pointer("host", "hosts", host.id),
    ]
    return Answer(200, call.documents.action(body, added))


Handler = Callable[[Call], Answer]
_ROUTES: dict[tuple[str, tuple[str, ...], int], Handler] = {
    ("GET", ("vms",), 1): _vms,
    ("GET", ("vms",), 2): _vm,
    ("PUT", ("vms",), 2): _update_vm,
    ("POST", ("vms",), 3): _vm_action,
    ("GET", ("vms",), 3): _statistics,
    ("GET", ("vms",), 4): _running_action,
    ("GET", ("hosts",), 1): _hosts,
    ("GET", ("hosts",), 2): _host,
    ("POST", ("hosts",), 3): _fence,
    ("GET", ("clusters",), 1): _clusters,
    ("GET", ("clusters",), 2): _cluster,
    ("GET", ("clusters",), 3): _affinity_groups,
    ("GET", ("clusters",), 4): _affinity_group,
    ("GET", ("clusters",), 5): _affinity_group_vms,
    ("GET", ("jobs",), 1): _jobs,
    ("GET", ("jobs",), 2): _job,
}
METHODS: dict[tuple[tuple[str, ...], int], list[str]] = {}
for _method, _head, _length in _ROUTES:
    METHODS.setdefault((_head, _length), []).append(_method)
