"""RHEVMInfo, checked: where RHEV-M is and who asks. Needs nothing, so open can complain early."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from kvmguest.arglist import RhevmInfo

HTTPS_PORT = 443


class Address(NamedTuple):
    """Host, port and path of the URL; ``path`` is "" where the URL names only the server."""

    host: str
    port: int
    path: str


def complaints(info: RhevmInfo) -> list[str]:
    """Everything that is missing or malformed in RHEVMInfo, each with the way out."""
    found = []
    try:
        address(info.url)
    except ValueError as error:
        found.append(f"RHEVMInfo.URL {error}; set it to https://<RHEV-M>:443")
    if not info.user:
        found.append("RHEVMInfo.User is not set: name a user such as admin@internal")
    elif "@" not in info.user or not info.user.isprintable():
        found.append(f"RHEVMInfo.User is {info.user!r}: it must be user@profile")
    if not info.password:
        found.append("RHEVMInfo.Password is not set: put in what vcsencrypt -agent prints")
    if '"' in info.cluster or not info.cluster.isprintable():
        found.append(f"RHEVMInfo.Cluster is {info.cluster!r}: no cluster can be called so")
    return found


def address(url: str) -> Address:
    """Take a URL apart.

    Raises:
        ValueError: it is not one this agent may use; the message goes on after "RHEVMInfo.URL".
    """
    if not url:
        raise ValueError("is not set")
    if any(character <= " " or character == "\x7f" for character in url):
        raise ValueError(f"is {url!r}: blanks and control characters are not possible")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"cannot be understood ({error})") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user name, which belongs into RHEVMInfo.User")
    if parts.scheme == "http":
        raise ValueError("begins with http://, which would send the password in clear")
    if parts.scheme != "https" or not host:
        raise ValueError(f"is {url!r}: it must begin with https:// and name a host")
    if parts.query or parts.fragment or not parts.path.isascii():
        raise ValueError(f"is {url!r}: a ?, a # or a path that is not plain ASCII is not possible")
    return Address(host, port or HTTPS_PORT, parts.path.rstrip("/"))
