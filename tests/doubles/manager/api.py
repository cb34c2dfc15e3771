"""The engine's front: which path, which version, which media type, who; then resources."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from tests.doubles.manager import pages, resources, sso
from tests.doubles.manager.accounts import Accounts
from tests.doubles.manager.admission import Admission, Denied, Gate, cookie
from tests.doubles.manager.documents import Documents
from tests.doubles.manager.messages import Reply, Request, html
from tests.doubles.manager.nodes import Node, to_json, to_xml
from tests.doubles.manager.profiles import Profile
from tests.doubles.manager.refusal import NotFound, Refused
from tests.doubles.manager.v3 import Version3
from tests.doubles.manager.v4 import Version4
from tests.doubles.manager.world import World

NEW_PATH, OLD_PATH = "/ovirt-engine/api", "/api"
_HEALTH = frozenset({"/ovirt-engine/services/health", "/OvirtEngineWeb/HealthStatus"})
_YES = frozenset({"true", "t", "yes", "y", "1"})
_NO = frozenset({"false", "f", "no", "n", "0"})
_NOT_IN_CORRELATION = re.compile(r"[^0-9A-Za-z_-]")


class Place(NamedTuple):
    """Where a request landed: the base its hrefs get, the version, and the path below."""

    base: str
    cookie_path: str
    version: int
    path: tuple[str, ...]


class Api:
    """One engine's HTTP face."""

    def __init__(self, world: World, accounts: Accounts, ca_pem: bytes) -> None:
        self.world = world
        self.accounts = accounts
        self.ca_pem = ca_pem
        self.gate = Gate(world.profile, accounts)

    @property
    def profile(self) -> Profile:
        return self.world.profile

    def answer(self, request: Request) -> Reply:
        """The whole reply; never raises for anything a client may send."""
        if self.world.engine.status != "up":
            return pages.apache(503 if self.world.engine.status == "down" else 404)
        path = request.path
        public = self._public(request, path)
        if public is not None:
            return public
        place = self._locate(request, path)
        if isinstance(place, Reply):
            return place
        try:
            admission = self.gate.admit(request, self.world.moment, place.cookie_path)
        except Denied as denied:
            return denied.reply
        reply = self._admitted(request, place, admission)
        if admission.ends:
            self.accounts.close(admission.session.key)
        headers = [*admission.headers, *reply.headers]
        if place.version == 4:
            headers.append(("Correlation-Id", _correlation_id(request)))
        return reply._replace(headers=headers, user=admission.user.name, login=admission.login)

    def _public(self, request: Request, path: str) -> Reply | None:
        """Paths that need no login."""
        if path in _HEALTH:
            return html(200, "DB Up!Welcome to Health Status!")
        wants_ca = request.parameters().get("resource") == "ca-certificate"
        resource = path == "/ovirt-engine/services/pki-resource" and wants_ca
        if resource and self.profile.release >= (3, 4):
            return Reply(200, self.ca_pem, "application/x-x509-ca-cert")
        if path in {"/ca.crt", "/ovirt-engine/ca.crt"} and not self.profile.speaks_v4:
            return Reply(200, self.ca_pem, "application/x-x509-ca-cert")
        if path in sso.PATHS:
            if not self.profile.has_sso:
                return pages.apache(404)
            return sso.answer(request, self.accounts, self.world.moment)
        return None

    def _locate(self, request: Request, path: str) -> Place | Reply:
        """Base path and version: prefix first, then the header, then the default."""
        profile = self.profile
        if profile.has_new_path and (path == NEW_PATH or path.startswith(NEW_PATH + "/")):
            base = prefix = NEW_PATH
        elif profile.has_old_path and (path == OLD_PATH or path.startswith(OLD_PATH + "/")):
            base = prefix = OLD_PATH
        else:
            return pages.apache(404)
        below = tuple(part for part in path[len(prefix) :].split("/") if part)
        if profile.rewrites_new_path:
            base = OLD_PATH
        if not profile.speaks_v4:
            return Place(base, base, 3, below)
        wanted = request.header("version") or "4"
        if below and re.fullmatch(r"v\d+", below[0]):
            wanted = below[0][1:]
            base = f"{base}/{below[0]}"
            below = below[1:]
        if wanted not in {"3", "4"}:
            return pages.container(400)
        if wanted == "3" and not profile.speaks_v3:
            return pages.container(405)
        return Place(base, NEW_PATH, int(wanted), below)

    def _admitted(self, request: Request, place: Place, admission: Admission) -> Reply:
        documents = self._documents(place)
        media = _media_type(request, place.version)
        if not media:
            return Reply(406)
        try:
            complaint = _bad_body(request)
            if complaint is not None:
                return complaint
            if not place.path:
                return self._root(request, documents, admission, media)
            return self._resource(request, place, documents, admission, media)
        except NotFound:
            return Reply(404)
        except Refused as refusal:
            fault = documents.fault(refusal.reason, refusal.detail)
            return _written(refusal.http_code(self.profile), fault, media)

    def _documents(self, place: Place) -> Documents:
        kind = Version3 if place.version == 3 else Version4
        return kind(self.world, place.base)

    def _root(
        self, request: Request, documents: Documents, admission: Admission, media: str
    ) -> Reply:
        if request.method not in {"GET", "HEAD"}:
            return Reply(405)
        filtered = self._is_filtered(request, admission)
        resources.may_query(admission.user, self.profile, filtered=filtered)
        document = documents.api(with_summary=not filtered)
        reply = _written(200, document, media)
        if request.method == "HEAD":
            links = ",".join(
                f"<{child.attributes['href']}>; rel={child.attributes['rel']}"
                for child in document.children
                if child.name == "link"
            )
            reply = reply._replace(headers=[("Link", links)])
        return reply

    def _resource(
        self,
        request: Request,
        place: Place,
        documents: Documents,
        admission: Admission,
        media: str,
    ) -> Reply:
        call = resources.Call(
            self.world,
            documents,
            admission.user,
            self._is_filtered(request, admission),
            "true" in (request.header("all-content"), request.parameters().get("all_content")),
            place.path,
            request.parameters(),
            request.body,
        )
        method = "GET" if request.method == "HEAD" else request.method
        answer = resources.answer(method, call)
        if answer is None:
            known = (place.path[:1], len(place.path)) in resources.METHODS
            return Reply(405 if known else 404)
        reply = _written(answer.status, answer.document, media)
        return reply._replace(ready_at=answer.ready_at)

    def _is_filtered(self, request: Request, admission: Admission) -> bool:
        wish = request.header("filter")
        if self.profile.speaks_v4:
            wish = wish or request.parameters().get("filter", "")
        if wish.lower() in _YES:
            return True
        if wish.lower() in _NO:
            return False
        return self.profile.filters_non_admins and not admission.user.is_admin

    def session_of(self, request: Request) -> str:
        """The key of the session a request belongs to, or nothing."""
        scheme, _, token = request.header("authorization").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else cookie(request)


def _media_type(request: Request, version: int) -> str:
    """application/xml or application/json; nothing if the client takes neither."""
    by_url = request.parameters().get("accept") if version == 4 else None
    accept = by_url or request.header("accept")
    if not accept or "*/*" in accept or "application/*" in accept or "application/xml" in accept:
        return "application/xml"
    return "application/json" if "application/json" in accept else ""


def _bad_body(request: Request) -> Reply | None:
    """POST and PUT need a body and its type."""
    if request.method not in {"POST", "PUT"}:
        return None
    if "application/xml" not in request.header("content-type"):
        return Reply(415)
    return None if request.body.strip() else Reply(400)


def _written(status: int, document: Node, media: str) -> Reply:
    body = to_xml(document) if media == "application/xml" else to_json(document)
    kind = "application/xml;charset=UTF-8" if media == "application/xml" else media
    return Reply(status, body, kind)


def _correlation_id(request: Request) -> str:
    given = request.header("correlation-id") or request.parameters().get("correlation_id", "")
    return _NOT_IN_CORRELATION.sub("", given)[:36] or str(uuid.uuid4())
