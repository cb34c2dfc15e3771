"""A login to RHEV-M that outlives the process: the first entry point logs in, the others reuse it.

RHEV-M counts each login as a full one (directory look-ups, audit log rows), so the token (API
version 4) or the session cookie (version 3, or 4 where its token service is not there) is kept in
the private state directory. A 401 means that it ended: log in once more, repeat the request once.
A lock lets one process log in for all; how often a refused password is sent is up to ``refusals``.
The password itself is never kept.
"""

from __future__ import annotations

from urllib.parse import quote
from zlib import crc32

from lxml import etree

from kvmguest import errors
from kvmguest.deadline import Deadline
from kvmguest.log import Log
from kvmguest.rhev import login, wire
from kvmguest.rhev.login import Credential, Place
from kvmguest.rhev.refusals import Refusals
from kvmguest.rhev.replies import check, is_engine
from kvmguest.rhev.settings import address
from kvmguest.rhev.transport import Reply, Transport, tls_context

LOGIN_LIMIT_S = 40.0


class Session:
    """Authenticated requests below the API's base, as parsed XML."""

    def __init__(self, place: Place, deadline: Deadline, log: Log) -> None:
        self._place = place
        self._deadline = deadline
        self._log = log
        site = place.site
        context = tls_context(site.rhev_ca_file, verify=site.rhev_verify)
        self._transport = Transport(address(place.info.url), context, deadline, log)
        self._key = f"{place.info.url} {place.info.user} {site.rhev_api_version}"
        self._mark = f"{crc32(self._key.encode()):08x}"
        self._refusals = Refusals(place, self._key, self._transport.name, log)
        self._credential: Credential | None = self._load()

    @property
    def key(self) -> str:
        """What everything learnt through this session is filed under."""
        return self._key

    @property
    def api(self) -> wire.Api:
        """Generation and engine version; logs in where that is not known yet."""
        return (self._credential or self._log_in(None)).api

    def get(self, path: str) -> etree._Element:
        """GET below the base, e.g. ``/vms/<id>``."""
        return self._ask("GET", path, None)

    def find(self, collection: str, field: str, value: str) -> list[etree._Element]:
        """Search a collection for one field; RHEV-M compares without case and knows wildcards.

        A value that the search language cannot express gives an empty list, so the caller
        compares what comes back, and takes nothing for "there is none".
        """
        search = quote(f'{field}="{value}"', safe="")
        return list(self.get(f"/{collection}?search={search}"))

    def post(self, path: str, body: bytes) -> None:
        """Do an action. Returning means that it was accepted, not that it is done.

        Raises:
            WrongState: refused; the message is the engine's reason.
        """
        root = self._ask("POST", path, body)
        if wire.has_failed(root):
            raise errors.OperationFailed(wire.fault(root) or "failed without a reason")

    def put(self, path: str, body: bytes) -> None:
        """Change an object."""
        self._ask("PUT", path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> etree._Element:
        known = self._credential
        credential = known or self._log_in(None)
        reply = self._send(credential, method, path, body)
        if known and _is_over(reply):
            # Not done, so it may be repeated: 401 comes before anything is looked at.
            credential = self._log_in(known)
            reply = self._send(credential, method, path, body)
        if reply.status == 401:
            raise errors.Refused(
                f"{self._transport.name} does not accept the session it has just opened for "
                f"{self._place.info.user}; see engine.log and the clock of RHEV-M"
            )
        return check(reply, self._transport.name, credential.api, self._place.info.user)

    def _send(self, credential: Credential, method: str, path: str, body: bytes | None) -> Reply:
        headers = login.headers(credential)
        if body is not None:
            headers["Content-Type"] = "application/xml"
        return self._transport.request(method, credential.base + path, headers, body)

    # The login, one process at a time

    def _log_in(self, stale: Credential | None) -> Credential:
        memory = self._place.memory
        limit_s = self._deadline.slice(LOGIN_LIMIT_S)
        with memory.locked(f"rhev.login.{self._mark}", limit_s) as is_ours:
            if not is_ours:
                raise errors.Silent(
                    f"another process of this node is still logging in to {self._transport.name}; "
                    f"see why RHEV-M or the password's decryption hangs"
                )
            kept = self._load()
            if kept and kept != stale:
                self._credential = kept
                return kept
            with self._refusals.attempt():
                fresh = login.log_in(self._place, self._transport, self._deadline, self._log)
            self._keep(fresh)
        self._credential = fresh
        return fresh

    def _keep(self, fresh: Credential) -> None:
        text = login.to_text(fresh)
        if not text:
            return
        name = f"rhev.session.{self._mark}"
        if not self._place.memory.write(name, f"{self._key}\n{text}"):
            self._log.warning(
                f"the session with {self._transport.name} cannot be kept in "
                f"{self._place.site.vcs_state_dir}, so every call logs in anew: see that the "
                f"directory is root's, mode 0700, and its disk is not full"
            )

    def _load(self) -> Credential | None:
        text = self._place.memory.read(f"rhev.session.{self._mark}") or ""
        key, _newline, rest = text.partition("\n")
        return login.from_text(rest) if key == self._key else None


def _is_over(reply: Reply) -> bool:
    """Whether a kept session does not fit any more: ended, or the engine is another one now."""
    return reply.status in {401, 405} or (reply.status == 404 and not is_engine(reply))
