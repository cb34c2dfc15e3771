"""A request and a reply, between the transport and everything else. No sockets here."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import NamedTuple

Headers = list[tuple[str, str]]


class Request(NamedTuple):
    """One request as it came in; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """Without query and matrix parameters."""
        segments = self.target.partition("?")[0].split("/")
        return "/".join(segment.partition(";")[0] for segment in segments)

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def parameters(self) -> dict[str, str]:
        """Query and matrix parameters together; the query wins."""
        found: dict[str, str] = {}
        for segment in self.target.partition("?")[0].split("/"):
            for pair in segment.split(";")[1:]:
                key, _, value = pair.partition("=")
                found[key] = urllib.parse.unquote(value)
        found.update(urllib.parse.parse_qsl(self.query, keep_blank_values=True))
        return found

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


class Reply(NamedTuple):
    """One reply, and how it is to be delivered.

    delivery is "whole", or a fault of the transport: "drip" (the body one byte per pause_s), "cut"
    (connection reset half-way through the body), "nothing" (closed without a byte), "hang" (never
    answers). "whole" with a pause_s answers that many real seconds late.
    """

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: Sequence[tuple[str, str]] = ()
    delivery: str = "whole"
    pause_s: float = 0.0
    ready_at: float | None = None  # engine time before which a blocking action does not answer
    user: str = ""  # for the record of requests
    login: bool = False

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def html(status: int, body: str, headers: Headers | None = None) -> Reply:
    return Reply(status, body.encode(), "text/html;charset=UTF-8", headers or ())
