"""The engine's OAuth endpoints (4.0 and later). Errors are 400 with JSON, never 401."""

from __future__ import annotations

import json
import urllib.parse

from tests.doubles.manager import pages
from tests.doubles.manager.accounts import Accounts, LoginRefused
from tests.doubles.manager.messages import Reply, Request

TOKEN = "/ovirt-engine/sso/oauth/token"
TOKEN_BY_KERBEROS = "/ovirt-engine/sso/oauth/token-http-auth"
LOGOUT = "/ovirt-engine/services/sso-logout"
PATHS = frozenset({TOKEN, TOKEN_BY_KERBEROS, LOGOUT})
API_SCOPE = "ovirt-app-api"
_NEVER_MS = str(2**63 - 1)


def answer(request: Request, accounts: Accounts, now: float) -> Reply:
    form = dict(urllib.parse.parse_qsl(request.body.decode(errors="replace")))
    if request.path == TOKEN_BY_KERBEROS:
        return pages.unauthorized()
    if request.method != "POST":
        return pages.container(405)
    if request.path == LOGOUT:
        accounts.close(form.get("token", ""))
        return _json(200, {})
    return _token(request, form, accounts, now)


def _token(request: Request, form: dict[str, str], accounts: Accounts, now: float) -> Reply:
    scope = form.get("scope", "")
    complaint = _complaint(request, form)
    if complaint is not None:
        return _error(scope, *complaint)
    try:
        user = accounts.check(form["username"], form["password"])
    except LoginRefused as refusal:
        return _error(scope, "access_denied", str(refusal))
    session = accounts.open(user, now)
    token = {
        "access_token": session.key,
        "scope": scope,
        "exp": _NEVER_MS,
        "token_type": "bearer",
    }
    return _json(200, token)._replace(login=True, user=user.name)


def _complaint(request: Request, form: dict[str, str]) -> tuple[str, str] | None:
    """The first thing wrong with a token request: code and text."""
    if request.header("accept") != "application/json":
        return "invalid_request", "Missing parameter: 'Accept Header'"
    for name in ("grant_type", "scope", "username", "password"):
        if not form.get(name):
            return "invalid_request", f"Missing parameter: '{name}'"
    if form["grant_type"] != "password":
        return "unsupported_grant_type", f"Unsupported grant type: {form['grant_type']}"
    if API_SCOPE not in form["scope"].split():
        return "invalid_scope", f"The scope {form['scope']} is not valid"
    return None


def _error(scope: str, code: str, text: str) -> Reply:
    if scope.split() == [API_SCOPE]:
        return _json(400, {"error_code": code, "error": text})
    return _json(400, {"error": code, "error_description": text})


def _json(status: int, content: dict[str, str]) -> Reply:
    return Reply(status, json.dumps(content).encode(), "application/json")
