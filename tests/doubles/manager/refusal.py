"""How the engine says no."""

from __future__ import annotations

from tests.doubles.manager.profiles import Profile

CONFLICT, BAD, FORBIDDEN, MISSING = 409, 400, 403, 404


class Refused(Exception):
    """The command was not accepted.

    Args:
        code: what a release that maps codes answers with (CONFLICT, BAD, FORBIDDEN, MISSING).
        messages: the engine's sentences; on the wire they are a Java list, "[one, two]".
        reason: the fault's headline.
        plain: the detail is one sentence without the list's brackets.
        early: it came before the command itself, so even an action answers with <fault>.
    """

    def __init__(
        self,
        code: int,
        *messages: str,
        reason: str = "Operation Failed",
        plain: bool = False,
        early: bool = False,
    ) -> None:
        super().__init__(*messages)
        self.code = code
        self.reason = reason
        self.is_early = early
        self.detail = " ".join(messages) if plain else f"[{', '.join(messages)}]"

    def http_code(self, profile: Profile) -> int:
        return self.code if profile.maps_http_codes else BAD


class NotFound(Exception):
    """404 without a body: no such object, or not visible to this user."""


def not_authorized() -> Refused:
    return Refused(FORBIDDEN, "User is not authorized to perform this action.")
