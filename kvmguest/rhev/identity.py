"""Who this node is: the marks by which RHEV-M may know it. Only reads files and names."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import NamedTuple

from kvmguest.deadline import call_within
from kvmguest.errors import Silent

NAME_SERVICE_LIMIT_S = 3.0
UUID_DIGITS = 32
_PLACEHOLDERS = frozenset(
    {"03000200040005000006000700080009", "00020003000400050006000700080009", "fe" * 16}
)
"""What boards have whose vendor forgot to set a UUID, besides one digit 32 times."""
_VDSM_ID = "etc/vdsm/vdsm.id"
_UUID_FILES = (
    "sys/class/dmi/id/product_uuid",  # x86, what dmidecode -s system-uuid prints
    "proc/device-tree/system-id",  # ppc64
)


class Identity(NamedTuple):
    """``vdsm_ids``: vdsm.id and the hardware UUID, in lower case, as far as they tell anything.

    The first is the one that vdsm goes by. A second is not vdsm's: vdsm.id is there because boards
    may share their UUID.
    ``names``: this node's VCS system name and host name. ``mapped``: its name in RHEV-M as the
    site option [hosts] has it, "" where that says nothing.
    """

    vdsm_ids: tuple[str, ...]
    names: tuple[str, ...]
    mapped: str

    def mark(self) -> str:
        """One line that another machine, even a clone with the same files, does not share."""
        return " ".join((*self.vdsm_ids, *self.names, self.mapped))


def read(hosts: Mapping[str, str], env: Mapping[str, str], root: str = "/") -> Identity:
    """This node's marks. vdsm takes vdsm.id where there is one, else the hardware's UUID."""
    ids = [_first_line(os.path.join(root, path)).lower() for path in (_VDSM_ID, *_UUID_FILES)]
    system = _first_line(os.path.join(env.get("VCS_CONF") or "/etc/VRTSvcs", "conf", "sysname"))
    names = [name for name in (system, socket.gethostname()) if name]
    mapped = next((hosts[name] for name in names if name in hosts), "")
    known = tuple(dict.fromkeys(filter(is_telling, ids)))
    return Identity(known, tuple(dict.fromkeys(names)), mapped)


def is_telling(uuid: str) -> bool:
    """Whether it is the UUID of one machine, and not a vendor's placeholder, a word or nothing."""
    digits = uuid.lower().replace("-", "")
    return len(digits) >= UUID_DIGITS and len(set(digits)) > 1 and digits not in _PLACEHOLDERS


def is_own_address(address: str) -> bool:
    """Whether an address or a host name in RHEV-M leads to this node.

    Not tried by binding to it: with net.ipv4.ip_nonlocal_bind every address could be bound. A
    loopback address in RHEV-M says nothing, but a host's name may lead to one in its /etc/hosts.
    """
    if address == "localhost" or address.startswith(("127.", "::1")):
        return False
    try:
        found = call_within(
            NAME_SERVICE_LIMIT_S, f"the name {address}", lambda: socket.getaddrinfo(address, None)
        )
    except (OSError, Silent, UnicodeError):
        return False
    # typeshed allows a bare int where an address family has no host part
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    return bool(addresses) and addresses <= _own_addresses()


def same_name(one: str, other: str) -> bool:
    """Equal without case, where one may be the short form of the other's full name."""
    first, second = one.lower().rstrip("."), other.lower().rstrip(".")
    return first == second or (
        ("." not in first or "." not in second)
        and first.partition(".")[0] == second.partition(".")[0]
        and not first.replace(".", "").isdigit()
    )


def _own_addresses() -> set[str]:
    """The kernel's own list of local addresses (loopback too, as /etc/hosts may use it)."""
    found = set()
    address = ""
    for line in _lines("/proc/net/fib_trie"):
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            found.add(address)
    for line in _lines("/proc/net/if_inet6"):
        packed = bytes.fromhex(line.split()[0])
        found.add(socket.inet_ntop(socket.AF_INET6, packed))
    return found


def _first_line(path: str) -> str:
    lines = _lines(path)
    return lines[0].strip("\0 \t") if lines else ""


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(1_000_000).splitlines()
    except OSError:
        return []
