"""Misbehaviour on order: rules that spoil some requests.

A rule takes requests whose path fits, at most `times` of them. Kinds that answer instead of the
engine never reach it, so nothing is executed; kinds that spoil a reply do so after the engine has
done what was asked, which is how an accepted command with a lost answer comes about.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Callable

from tests.doubles.manager import pages
from tests.doubles.manager.messages import Reply, Request, html

if TYPE_CHECKING:
    from typing_extensions import Self

_BOMB = (
    b'<?xml version="1.0"?>\n<!DOCTYPE vm [<!ENTITY a "0123456789abcdef">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 16) for n in range(8))
    + b"]>\n<vm><name>&i;</name><status>&i;</status></vm>\n"
)
_STATUS_WORD = re.compile(rb"<(status|state)>[^<]*</\1>")

Instead = Callable[[], Reply]
Spoil = Callable[[Reply], Reply]


def _truncated(reply: Reply) -> Reply:
    return reply._replace(body=reply.body[: len(reply.body) * 2 // 3])


def _without(*names: bytes) -> Spoil:
    def spoil(reply: Reply) -> Reply:
        lines = reply.body.split(b"\n")
        kept: list[bytes] = []
        until: bytes | None = None
        for line in lines:
            bare = line.strip()
            if until is not None:
                until = None if bare == until else until
                continue
            name = next(
                (n for n in names if bare.startswith((b"<" + n + b">", b"<" + n + b" "))), None
            )
            if name is None:
                kept.append(line)
            elif not bare.endswith((b"/>", b"</" + name + b">")):
                until = b"</" + name + b">"
        return reply._replace(body=b"\n".join(kept))

    return spoil


def _strange_status(reply: Reply) -> Reply:
    """Another word as every status, in the form of either version."""
    return reply._replace(body=_STATUS_WORD.sub(rb"<\1>levitating</\1>", reply.body))


INSTEAD: dict[str, Instead] = {
    "hang": lambda: Reply(200, delivery="hang"),
    "reset": lambda: Reply(200, delivery="cut"),
    "html": lambda: html(200, "<html><head><title>Welcome</title></head><body>Hello</body></html>"),
    "bomb": lambda: Reply(200, _BOMB, "application/xml;charset=UTF-8"),
    "500": lambda: pages.container(500, "Internal Server Error"),
    "503": lambda: pages.apache(503),
    "404": lambda: pages.apache(404),
    "403": lambda: pages.container(403),
    "401": pages.unauthorized,
    "empty": lambda: Reply(200, b"", "application/xml;charset=UTF-8"),
    "huge": lambda: Reply(
        200, b"<vm><name>" + b"x" * (64 << 20) + b"</name></vm>", "application/xml;charset=UTF-8"
    ),
}
"""Kinds that answer in the engine's place."""

SPOIL: dict[str, Spoil] = {
    "drip": lambda reply: reply._replace(delivery="drip", pause_s=1.0),
    "cut": lambda reply: reply._replace(delivery="cut"),
    "lost": lambda reply: reply._replace(delivery="nothing"),
    "stuck": lambda reply: reply._replace(delivery="hang"),
    "slow": lambda reply: reply._replace(pause_s=1.0),
    "truncated": _truncated,
    "no_status": _without(b"status"),
    "no_host": _without(b"host"),
    "strange_status": _strange_status,
}
"""Kinds that let the engine act and then spoil its reply."""


class Fault:
    """One rule; `with` removes it at the end, as does remove()."""

    def __init__(
        self,
        rules: list[Fault],
        kind: str,
        *,
        path: str,
        method: str,
        times: int | None,
        pause_s: float,
    ) -> None:
        if kind not in INSTEAD and kind not in SPOIL:
            raise ValueError(f"no such fault: {kind}")
        self.kind = kind
        self.hits = 0
        self._path = path if "*" in path else f"*{path}*"
        self._method = method
        self._left = times
        self._pause_s = pause_s
        self._rules = rules
        rules.append(self)

    def takes(self, request: Request) -> bool:
        if self._left == 0 or self._method not in {"", request.method}:
            return False
        return fnmatch.fnmatchcase(request.path, self._path)

    def apply(self, request: Request, engine: Callable[[Request], Reply]) -> Reply:
        self.hits += 1
        if self._left is not None:
            self._left -= 1
        if self.kind in INSTEAD:
            return INSTEAD[self.kind]()
        reply = SPOIL[self.kind](engine(request))
        return reply._replace(pause_s=self._pause_s) if reply.pause_s else reply

    def remove(self) -> None:
        if self in self._rules:
            self._rules.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
