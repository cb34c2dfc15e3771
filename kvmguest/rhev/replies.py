"""What an answer of RHEV-M means: HTTP status, type of the body and fault, by who has to act."""

from __future__ import annotations

from lxml import etree

from kvmguest import errors
from kvmguest.rhev import wire
from kvmguest.rhev.transport import Reply


def is_engine(reply: Reply) -> bool:
    """Whether the engine answered: in XML, or with nothing (its 404). HTML is a web server's."""
    return reply.is_xml or not reply.body


_NO_RIGHT = ("insufficient permissions", "not authorized")
"""Seen in 3.1 to 4.5, where a denied request may come as 400."""


def check(reply: Reply, name: str, api: wire.Api, user: str) -> etree._Element:
    """The answer's document.

    Raises:
        Unreachable: a web server or a proxy answered, not the engine.
        Refused: the user may not do that.
        GuestNotFound: 404, no object of that id.
        WrongState: the engine refuses for now; its reason is the message.
        OperationFailed: anything else.
    """
    if not is_engine(reply):
        raise errors.Unreachable(not_engine(reply, name))
    if reply.status == 404:
        raise errors.GuestNotFound(f"{name} has no such object (404)")
    root = wire.parse(reply.body) if reply.is_xml else None
    if root is not None and reply.status in {200, 201, 202}:
        return root
    reason = (wire.fault(root) if root is not None else "") or f"HTTP status {reply.status}"
    if reply.status == 403 or any(text in reason.lower() for text in _NO_RIGHT):
        raise errors.Refused(
            f"{reason} ({name}); give {user} the role ClusterAdmin on the cluster in RHEV-M"
        )
    is_conflict = reply.status == 409 or (reply.status == 400 and api.engine < (3, 3))
    raise (errors.WrongState if is_conflict else errors.OperationFailed)(f"{reason} ({name})")


def not_engine(reply: Reply, name: str) -> str:
    """The sentence about an answer that is not the engine's."""
    kind = reply.content_type.partition(";")[0] or "no type"
    advice = {
        404: "RHEV-M is still starting, or RHEVMInfo.URL has a wrong path",
        502: "ovirt-engine is down or starting: see systemctl status ovirt-engine there",
        503: "ovirt-engine is down or starting: see systemctl status ovirt-engine there",
        504: "ovirt-engine hangs: see engine.log there",
    }.get(reply.status, "see engine.log, and that RHEVMInfo.URL is RHEV-M's and not a proxy's")
    return f"{name} answered {reply.status} with {kind} instead of XML; {advice}"
