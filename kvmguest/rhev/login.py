"""How to log in: find the API, its generation, and what proves later that we did.

A version 4 engine has a token service (OAuth2), tried first. An engine without one (3.x), or one
that does not give tokens for passwords, takes Basic authentication and gives a session cookie. A
wrong password is said by the first service that judges it, and not tried on the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from kvmguest import decrypt, errors
from kvmguest.arglist import RhevmInfo
from kvmguest.deadline import Deadline
from kvmguest.log import Log
from kvmguest.options import Options
from kvmguest.rhev import wire
from kvmguest.rhev.replies import check, not_engine
from kvmguest.rhev.settings import address
from kvmguest.rhev.transport import Reply, Transport
from kvmguest.statedir import StateDir

TOKEN_PATH = "/ovirt-engine/sso/oauth/token"  # noqa: S105 - a path
BASES = ("/ovirt-engine/api", "/api")
"""4.x and late 3.x; 3.x."""
BEARER, COOKIE, BASIC = "Bearer", "Cookie", "Basic"

# Words of the token service (4.0 to 4.5) that tell more than its codes do, and the next step.
_DIRECTORY_DOWN = "servers cannot be reached"
_SSO_ADVICE = (
    ("locked", "unlock the account in RHEV-M's user directory"),
    ("disabled", "unlock the account in RHEV-M's user directory"),
    ("expired", "set a new password there and in RHEVMInfo.Password"),
    ("no valid profile", "correct what follows the @ in RHEVMInfo.User"),
)
_CORRECT = "correct RHEVMInfo's User and Password"
_NO_PASSWORD_GRANT = frozenset({"unsupported_grant_type", "unauthorized_client", "invalid_scope"})


class LoginRefused(errors.Refused):
    """User or password are wrong, or the account is locked or expired."""


class LoginUnanswered(errors.Silent):
    """The password was sent, and no answer came in time: it may have been refused."""


class Place(NamedTuple):
    """Where the session comes from; everything an entry point knows that a login needs."""

    info: RhevmInfo
    site: Options
    memory: StateDir
    env: Mapping[str, str]


class Credential(NamedTuple):
    """What proves a login, and what was learnt by it.

    ``secret`` is a token or a cookie's value; with kind Basic, which is never kept, it is made of
    the password itself.
    """

    base: str
    api: wire.Api
    kind: str
    secret: str

    def __repr__(self) -> str:
        """Leave the secret out: a repr ends in tracebacks and debug lines."""
        return f"Credential({self.base!r}, {self.api!r}, {self.kind!r})"


def log_in(place: Place, transport: Transport, deadline: Deadline, log: Log) -> Credential:
    """Log in once.

    Raises:
        LoginRefused: the credentials were judged, and are wrong.
        LoginUnanswered: they were sent, but what became of that is not known.
        BackendError: anything else.
    """
    user, forced = place.info.user, place.site.rhev_api_version
    if not place.site.rhev_verify:
        log.warning(
            f"[rhev] verify is off: {transport.name} may be anybody, and gets {user}'s password"
        )
    password = decrypt.plain_text(
        place.info.password, place.site.vcs_decrypt_command, place.env, deadline
    )
    credential = None
    if forced != "3":
        credential = _token(transport, user, password)
    path = address(place.info.url).path
    bases = [path] if path else list(BASES)
    wanted = 3 if forced == "3" else 4
    return _enter(transport, bases, wanted, credential or _basic(user, password), user)


def headers(credential: Credential) -> dict[str, str]:
    """The headers of every request of this session. No Filter: it would hide the VM's host."""
    common = {
        "Accept": "application/xml",
        "Version": str(credential.api.version),
        "User-Agent": "KVMGuest",
    }
    if credential.kind == COOKIE:
        # Without Prefer the engine ends the session after this request.
        return {**common, "Cookie": f"JSESSIONID={credential.secret}", "Prefer": "persistent-auth"}
    return {**common, "Authorization": f"{credential.kind} {credential.secret}"}


def to_text(credential: Credential) -> str:
    """The form in which a session is kept, "" for one that must not be."""
    if credential.kind == BASIC:
        return ""
    major, minor = credential.api.engine
    words = (credential.base, credential.api.version, major, minor, credential.kind)
    return "\n".join([*map(str, words), credential.secret])


def from_text(text: str) -> Credential | None:
    """A kept session, or None where the text is not one: then there is a new login."""
    words = text.split("\n")
    if len(words) != 6 or not all(_is_plain(word) for word in words):
        return None
    base, version, major, minor, kind, secret = words
    if not (base.startswith("/") and version in {"3", "4"} and kind in {BEARER, COOKIE}):
        return None
    if not (major.isdigit() and minor.isdigit()):
        return None
    return Credential(base, wire.Api(int(version), (int(major), int(minor))), kind, secret)


def _is_plain(word: str) -> bool:
    """Nothing that could end a header, or start another value in it."""
    return bool(word) and word.isascii() and all("!" <= c <= "~" and c not in ";," for c in word)


def _basic(user: str, password: str) -> Credential:
    from base64 import b64encode  # noqa: PLC0415 - few logins need it

    secret = b64encode(f"{user}:{password}".encode(errors="surrogateescape")).decode("ascii")
    return Credential("", wire.Api(4, (0, 0)), BASIC, secret)


def _token(transport: Transport, user: str, password: str) -> Credential | None:
    """A token for the password; None where this service does not give any."""
    form = urlencode(
        {
            "grant_type": "password",
            "scope": "ovirt-app-api",
            "username": user,
            "password": password.encode(errors="surrogateescape"),
        }
    )
    accept = {
        "Accept": "application/json",  # this and nothing else is accepted
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": "KVMGuest",
    }
    reply = _send_password(transport, "POST", TOKEN_PATH, accept, form.encode("ascii"))
    if "json" not in reply.content_type:
        if reply.status in {401, 403, 404, 405}:
            return None
        raise errors.Unreachable(not_engine(reply, transport.name))
    answer = _json(reply)
    if reply.status == 200:
        token = answer.get("access_token", "")
        if not _is_plain(token):
            raise errors.OperationFailed(f"{transport.name} gave no token; see its engine.log")
        return Credential("", wire.Api(4, (4, 0)), BEARER, token)
    code = answer.get("error_code") or answer.get("error", "")
    text = answer.get("error_description") or answer.get("error", "")
    if code in _NO_PASSWORD_GRANT:
        return None
    raise _sso_error(transport.name, user, code, text)


def _send_password(
    transport: Transport,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> Reply:
    try:
        return transport.request(method, path, headers, body)
    except errors.Silent as error:
        raise LoginUnanswered(str(error)) from None


def _sso_error(name: str, user: str, code: str, text: str) -> errors.BackendError:
    said = " ".join(text.split())[: wire.MAX_DETAIL]
    if _DIRECTORY_DOWN in text:
        return errors.Unreachable(f"{name} cannot log in {user}: {said} See its user directory")
    if code not in {"access_denied", "invalid_grant"}:
        return errors.OperationFailed(f"{name} cannot log in {user}: {code}: {said}")
    advice = next((way for word, way in _SSO_ADVICE if word in text.lower()), _CORRECT)
    return LoginRefused(f"{name} refuses user {user}: {said} {advice}")


def _json(reply: Reply) -> dict[str, str]:
    """A flat object of strings; whatever else is in it, or comes instead, is left out."""
    import json  # noqa: PLC0415 - only a login needs it

    try:
        answer = json.loads(reply.body)
    except ValueError:
        return {}
    if not isinstance(answer, dict):
        return {}
    return {key: value for key, value in answer.items() if isinstance(value, str)}


def _enter(
    transport: Transport, bases: list[str], version: int, proof: Credential, user: str
) -> Credential:
    """Find the base that answers, what generation it speaks, and the session it opens."""
    proof = proof._replace(api=proof.api._replace(version=version))
    for base in bases:
        if proof.kind == BASIC:
            prefer = {**headers(proof), "Prefer": "persistent-auth"}
            reply = _send_password(transport, "GET", base, prefer)
        else:
            reply = transport.request("GET", base, headers(proof))
        if reply.status == 404:
            continue
        if reply.status == 401 and proof.kind == BASIC:
            raise LoginRefused(f"{transport.name} refuses user {user} (401): {_CORRECT}")
        if reply.status == 401:
            # The password was judged before, and is right.
            raise errors.Refused(
                f"{transport.name} does not accept the token that it has just given {user} (401); "
                f"RHEV-M is still starting, or see its engine.log and its clock"
            )
        api = wire.read_api(check(reply, transport.name, proof.api, user))
        entered = proof._replace(base=base, api=api)
        if proof.kind == BASIC and _is_plain(reply.cookie):
            return entered._replace(kind=COOKIE, secret=reply.cookie)
        return entered
    raise errors.Unreachable(
        f"{transport.name} has no API at {' or '.join(bases)} (404); RHEV-M is still starting, or "
        f"RHEVMInfo.URL is wrong"
    )
