"""Who may log in and do what: users, roles, passwords, tokens, cookies, lockout."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import NamedTuple

ADMIN_ROLES = frozenset(
    {"SuperUser", "ClusterAdmin", "DataCenterAdmin", "HostAdmin", "ReadOnlyAdmin"}
)
"""Roles of administrator type: they may ask without Filter and see <host>."""

_RUN = frozenset({"RUN_VM", "STOP_VM", "SHUT_DOWN_VM", "HIBERNATE_VM", "REBOOT_VM"})
_MANAGE = _RUN | {"EDIT_VM_PROPERTIES", "MIGRATE_VM"}
_ADMINISTER = _MANAGE | {"EDIT_ADMIN_VM_PROPERTIES", "MANIPULATE_HOST"}

MAY: dict[str, frozenset[str]] = {
    "SuperUser": _ADMINISTER,
    "ClusterAdmin": _ADMINISTER,
    "DataCenterAdmin": _ADMINISTER,
    "HostAdmin": frozenset({"MANIPULATE_HOST"}),
    "ReadOnlyAdmin": frozenset(),
    "UserVmManager": _MANAGE,
    "UserRole": _RUN,
}
"""Role -> the engine's action groups that matter here."""

NO_PROFILE = "No valid profile found in credentials."
UNABLE = "Unable to log in. Verify your login information or contact the system administrator."
LOCKED = (
    "Unable to log in because the user account is disabled or locked. "
    "Contact the system administrator."
)
EXPIRED = "Unable to log in because the password has expired. Contact the system administrator."
UNREACHABLE = "Unable to log in because the servers cannot be reached. Try again later."


@dataclass(eq=False)
class User:
    """name is user@profile; vms limits what a filtered request shows (None: all)."""

    name: str
    password: str
    role: str = "SuperUser"
    vms: set[str] | None = None
    failures: int = 0
    locked: bool = False
    password_expired: bool = False

    @property
    def is_admin(self) -> bool:
        return self.role in ADMIN_ROLES

    def may(self, group: str) -> bool:
        return group in MAY[self.role]

    def sees(self, vm_name: str) -> bool:
        return self.vms is None or vm_name in self.vms


class LoginRefused(Exception):
    """Raised with the sentence the SSO server would say."""


class Session(NamedTuple):
    key: str
    user: User
    idle_s: float


class Accounts:
    """Users and their sessions. Tokens and cookies are the same kind of session here."""

    def __init__(self, lock_after: int = 5, idle_minutes: float = 30.0) -> None:
        self.users: dict[str, User] = {}
        self.lock_after = lock_after
        self.idle_s = idle_minutes * 60.0
        self.directory_down = False
        self.logins = 0
        self.failed_logins = 0
        self._sessions: dict[str, Session] = {}
        self._used_at: dict[str, float] = {}

    def check(self, name: str, password: str) -> User:
        """The user of these credentials; counts failures and locks the account.

        Raises:
            LoginRefused: with the SSO server's text.
        """
        try:
            user = self._check(name, password)
        except LoginRefused:
            self.failed_logins += 1
            raise
        self.logins += 1
        return user

    def _check(self, name: str, password: str) -> User:
        if self.directory_down:
            raise LoginRefused(_cannot(name, UNREACHABLE))
        if "@" not in name:
            raise LoginRefused(NO_PROFILE)
        if name.rpartition("@")[2] not in {n.rpartition("@")[2] for n in self.users}:
            raise LoginRefused(NO_PROFILE)
        user = self.users.get(name)
        if user is None:
            raise LoginRefused(_cannot(name, UNABLE))
        if user.locked:
            raise LoginRefused(_cannot(name, LOCKED))
        if not secrets.compare_digest(user.password.encode(), password.encode()):
            user.failures += 1
            user.locked = user.failures >= self.lock_after
            raise LoginRefused(_cannot(name, UNABLE))
        if user.password_expired:
            raise LoginRefused(_cannot(name, EXPIRED))
        user.failures = 0
        return user

    def open(self, user: User, now: float, idle_s: float | None = None) -> Session:
        session = Session(secrets.token_urlsafe(64), user, idle_s or self.idle_s)
        self._sessions[session.key] = session
        self._used_at[session.key] = now
        return session

    def find(self, key: str, now: float) -> Session | None:
        """The living session of this token or cookie; using it keeps it alive."""
        session = self._sessions.get(key)
        if session is None:
            return None
        if now - self._used_at[key] > session.idle_s:
            self.close(key)
            return None
        self._used_at[key] = now
        return session

    def close(self, key: str) -> None:
        self._sessions.pop(key, None)
        self._used_at.pop(key, None)

    def forget_sessions(self) -> None:
        """All sessions end, as when the engine restarts."""
        self._sessions.clear()
        self._used_at.clear()

    @property
    def open_sessions(self) -> int:
        return len(self._sessions)


def _cannot(name: str, why: str) -> str:
    return f"Cannot authenticate user '{name}': {why}."
