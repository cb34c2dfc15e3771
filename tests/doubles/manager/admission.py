"""Who is asking: Basic, Bearer and session cookies, and when a session begins and ends."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from tests.doubles.manager import pages
from tests.doubles.manager.accounts import Accounts, LoginRefused, Session, User
from tests.doubles.manager.messages import Headers, Reply, Request
from tests.doubles.manager.profiles import Profile


class Admission(NamedTuple):
    """An admitted caller."""

    user: User
    session: Session
    login: bool  # a full login was made for this request
    headers: Headers  # to be added to the reply
    ends: bool  # the session is closed after the request


class Denied(Exception):
    """Not admitted; carries the whole reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Gate(NamedTuple):
    """The authentication filters of one engine."""

    profile: Profile
    accounts: Accounts
    basic_allowed: bool = True  # false: Keycloak in front, Apache refuses Basic itself

    def admit(self, request: Request, now: float, cookie_path: str) -> Admission:
        """The caller.

        Raises:
            Denied: 401, or 403 for a missing CSRF header.
        """
        scheme, _, credentials = request.header("authorization").partition(" ")
        if scheme.lower() == "bearer":
            return self._by_token(credentials.strip(), now)
        wishes = {wish.strip() for wish in request.header("prefer").split(",")}
        known = self._by_cookie(request, wishes, now)
        if known is not None:
            return known
        if scheme.lower() != "basic":
            raise Denied(pages.unauthorized(by_proxy=not self.basic_allowed))
        if not self.basic_allowed:
            raise Denied(pages.unauthorized(by_proxy=True))
        return self._by_password(request, credentials, wishes, now, cookie_path)

    def _by_token(self, token: str, now: float) -> Admission:
        session = self.accounts.find(token, now) if self.profile.has_sso else None
        if session is None:
            raise Denied(pages.unauthorized())
        return Admission(session.user, session, login=False, headers=[], ends=False)

    def _by_cookie(self, request: Request, wishes: set[str], now: float) -> Admission | None:
        """The session of the cookie; without persistent-auth the cookie's session ends instead."""
        key = cookie(request)
        if not key:
            return None
        if "persistent-auth" not in wishes or "new-auth" in wishes:
            self.accounts.close(key)
            return None
        session = self.accounts.find(key, now)
        if session is None:
            return None
        if "csrf-protection" in wishes and request.header("jsessionid") != key:
            raise Denied(pages.container(403))
        return Admission(session.user, session, login=False, headers=[], ends=False)

    def _by_password(
        self, request: Request, credentials: str, wishes: set[str], now: float, cookie_path: str
    ) -> Admission:
        name, password = self._split(credentials)
        try:
            user = self.accounts.check(name, password)
        except LoginRefused as refusal:
            raise Denied(
                pages.unauthorized(str(refusal) if self.profile.speaks_v4 else "")
            ) from None
        minutes = request.header("session-ttl")
        idle_s = int(minutes) * 60.0 if minutes.isdigit() and int(minutes) > 0 else None
        session = self.accounts.open(user, now, idle_s)
        stays = "persistent-auth" in wishes
        headers: Headers = []
        if stays:
            value = f"JSESSIONID={session.key}; Path={cookie_path}; Secure; HttpOnly"
            headers.append(("Set-Cookie", value))
            if not self.profile.speaks_v4:
                headers.append(("JSESSIONID", session.key))
        return Admission(user, session, login=True, headers=headers, ends=not stays)

    def _split(self, credentials: str) -> tuple[str, str]:
        try:
            decoded = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Denied(pages.unauthorized()) from None
        name, _, password = decoded.partition(":")
        if not self.profile.speaks_v4 and "\\" in name:
            domain, _, short = name.partition("\\")
            name = f"{short}@{domain}"
        return name, password


def cookie(request: Request) -> str:
    """The session id in the Cookie header, or nothing."""
    for pair in request.header("cookie").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == "JSESSIONID":
            return value
    return ""
