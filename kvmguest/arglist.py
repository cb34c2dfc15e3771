"""VCS's argument list, turned into one frozen configuration.

The type passes ``Name Count V1..Vn`` for each attribute of ArgList, in any order, and the agent
framework appends ``AEPTimeout 1 <seconds>``. An association counts keys plus values. The list is
walked by the counts and never searched for a name, since a value may equal an attribute's name.
Agents before version 50 got bare values in ArgList order; that layout is accepted too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kvmguest.vcs import number

# The attributes of ArgList in the type's order, with the type's defaults. A mapping is an
# association, a string a scalar (types/KVMGuestTypes.cf; a test holds the two together).
DEFAULTS: Mapping[str, str | Mapping[str, str]] = {
    "GuestName": "",
    "DelayAfterGuestOnline": "5",
    "DelayAfterGuestOffline": "30",
    "SyncDir": "",
    "GuestConfigFilePath": "",
    "CEInfo": {"Enabled": "0", "CESystem": "NONE", "FaultOnHBLoss": "1"},
    "RHEVMInfo": {
        "Enabled": "0",
        "URL": "NONE",
        "User": "NONE",
        "Password": "NONE",
        "Cluster": "NONE",
        "UseManualRHEVMFencing": "0",
    },
    "ResyncVMCfg": "0",
    "DROpts": {
        "ConfigureNetwork": "0",
        "IPAddress": "NONE",
        "Netmask": "NONE",
        "Gateway": "NONE",
        "DNSServers": "NONE",
        "DNSSearchPath": "NONE",
        "Device": "NONE",
    },
}
UNSET = frozenset({"", "NONE"})
MAX_GUEST_NAME_BYTES = 255

_NOT_A_COUNT = "{}: no number of values follows; the rest of the list was not read"
"""It may be a Password that stands there, so it is not spelt out."""
_CUT_SHORT = "{}: the list is cut short, {} of {} values are there"


class CEInfo(NamedTuple):
    """Supervision of a VCS inside the guest; validated, not built."""

    is_enabled: bool
    ce_system: str
    fault_on_hb_loss: bool


class RhevmInfo(NamedTuple):
    """Access to RHEV-M; "" where unset. ``password`` is VCS's cipher text, never the plain one."""

    is_enabled: bool
    url: str
    user: str
    password: str
    cluster: str
    use_manual_fencing: bool

    def __repr__(self) -> str:
        """Leave the password out: a repr ends in tracebacks and debug lines."""
        return f"RhevmInfo(is_enabled={self.is_enabled}, url={self.url!r}, user={self.user!r})"


class GuestConfig(NamedTuple):
    """What VCS says of one resource. Delays in seconds; "" where a path is unset.

    ``dr_opts`` holds DROpts with the type's defaults filled in and unset keys as ""; keys that the
    type does not have are in it too, for ``drnet`` to complain of.
    ``others`` holds the tuples that are no attribute of the type (VCSInfo, ACTION_ARGS, ...).
    Arguments of an action that come the old way, ``<count> <args>`` at the end, are there as
    ACTION_ARGS too.
    ``complaints`` holds everything that is wrong with the arguments; where there is one, the
    value it is about is a harmless one and must not be used.
    """

    resource: str
    guest: str
    delay_after_online_s: int
    delay_after_offline_s: int
    sync_dir: str
    config_file: str
    ce_info: CEInfo
    rhevm_info: RhevmInfo
    resync_vm_cfg: bool
    dr_opts: Mapping[str, str]
    aep_timeout_s: int | None
    others: Mapping[str, tuple[str, ...]]
    complaints: tuple[str, ...]


def parse(resource: str, arguments: Sequence[str], *, is_action: bool = False) -> GuestConfig:
    """Turn what follows the resource name (and clean's reason) into a GuestConfig.

    Only an action's list (``is_action``) may end in ``<count> <args>``: anywhere else that is a
    list whose counts are wrong, which must not be guessed at.
    """
    complaints: list[str] = []
    if not resource.strip():
        complaints.append("the resource name is empty: the first argument must be the resource")
    # AEPTimeout only comes with tuples: without this, a list that lacks GuestName would be read by
    # position and name a guest "AEPTimeout", which is nowhere and so OFFLINE.
    names_of_tuples = {"GuestName", "AEPTimeout", *arguments[:1]} & {*DEFAULTS, "AEPTimeout"}
    is_tuples = not arguments or not names_of_tuples.isdisjoint(arguments)
    given = (_walk_tuples if is_tuples else _walk_positions)(arguments, complaints, is_action)
    scalars, associations = _fill_defaults(given, complaints)
    take = _Converter(complaints)
    ce_info, rhevm_info = associations["CEInfo"], associations["RHEVMInfo"]
    return GuestConfig(
        resource=resource,
        guest=take.guest_name(scalars["GuestName"]),
        delay_after_online_s=take.seconds(scalars, "DelayAfterGuestOnline"),
        delay_after_offline_s=take.seconds(scalars, "DelayAfterGuestOffline"),
        sync_dir=take.path(scalars, "SyncDir"),
        config_file=take.path(scalars, "GuestConfigFilePath"),
        ce_info=CEInfo(
            take.flag(ce_info, "Enabled", "CEInfo"),
            ce_info["CESystem"],
            take.flag(ce_info, "FaultOnHBLoss", "CEInfo"),
        ),
        rhevm_info=RhevmInfo(
            take.flag(rhevm_info, "Enabled", "RHEVMInfo"),
            rhevm_info["URL"],
            rhevm_info["User"],
            rhevm_info["Password"],
            rhevm_info["Cluster"],
            take.flag(rhevm_info, "UseManualRHEVMFencing", "RHEVMInfo"),
        ),
        resync_vm_cfg=take.flag(scalars, "ResyncVMCfg"),
        dr_opts=associations["DROpts"],
        aep_timeout_s=take.aep_timeout(given),
        others={
            name: tuple(values)
            for name, values in given.items()
            if name not in DEFAULTS and name != "AEPTimeout"
        },
        complaints=tuple(complaints),  # last: all of them are known by now
    )


def _is_tail(arguments: Sequence[str], at: int) -> bool:
    """Whether what is left is ``<count> <args>`` to the last word, which no tuple looks like."""
    return at < len(arguments) and number(arguments[at]) == len(arguments) - at - 1


def _walk_tuples(
    arguments: Sequence[str], complaints: list[str], is_action: bool
) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    at = 0
    while at < len(arguments):
        name = arguments[at]
        if is_action and _is_tail(arguments, at):
            given["ACTION_ARGS"] = list(arguments[at + 1 :])
            break
        count = arguments[at + 1] if at + 1 < len(arguments) else ""
        size = number(count)
        if size is None:
            complaints.append(_NOT_A_COUNT.format(name))
            break
        values = list(arguments[at + 2 : at + 2 + size])
        if len(values) < size:
            complaints.append(_CUT_SHORT.format(name, len(values), size))
        if given.get(name, values) != values:
            complaints.append(f"{name} is given twice with different values")
        given[name] = values
        at += 2 + size
    return given


def _walk_positions(
    arguments: Sequence[str], complaints: list[str], is_action: bool
) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    at = 0
    for name, default in DEFAULTS.items():
        if at >= len(arguments):
            break
        size: int | None = 1
        if not isinstance(default, str):
            size, at = number(arguments[at]), at + 1
        if size is None:
            complaints.append(_NOT_A_COUNT.format(name))
            break
        given[name] = list(arguments[at : at + size])
        if len(given[name]) < size:
            complaints.append(_CUT_SHORT.format(name, len(given[name]), size))
        at += size
    if is_action and _is_tail(arguments, at):
        given["ACTION_ARGS"] = list(arguments[at + 1 :])
    return given


def _fill_defaults(
    given: Mapping[str, list[str]], complaints: list[str]
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Scalars and associations with the type's defaults where nothing, "" or NONE is given."""
    scalars: dict[str, str] = {}
    associations: dict[str, dict[str, str]] = {}
    for name, default in DEFAULTS.items():
        values = given.get(name, [])
        if isinstance(default, str):
            if len(values) > 1:
                complaints.append(f"{name}: {len(values)} values are given, one is expected")
            value = values[0] if values else ""
            scalars[name] = default if value.strip() in UNSET else value
        else:
            if len(values) % 2:
                # A Password that has lost its key must not be spelt out in a log.
                which = "a key" if name == "RHEVMInfo" else f"the key {values[-1]!r}"
                complaints.append(f"{name}: {which} has no value")
            pairs = {key: value.strip() for key, value in zip(values[::2], values[1::2])}
            filled = {
                key: fallback if pairs.get(key, "") in UNSET else pairs[key]
                for key, fallback in default.items()
            }
            associations[name] = {
                key: "" if value in UNSET else value for key, value in {**pairs, **filled}.items()
            }
    return scalars, associations


class _Converter:
    """Strings to values; what cannot be converted becomes a complaint and a harmless value."""

    def __init__(self, complaints: list[str]) -> None:
        self._complaints = complaints

    def guest_name(self, value: str) -> str:
        if not value:
            self._complaints.append("GuestName is empty: set it to the guest's name in virsh list")
        if "/" in value or not value.isprintable():
            self._complaints.append(
                f"GuestName {value!r}: a slash, a newline or a control character is not possible"
            )
        if len(value.encode(errors="surrogateescape")) > MAX_GUEST_NAME_BYTES:
            self._complaints.append(
                f"GuestName {value[:20]!r}... is longer than {MAX_GUEST_NAME_BYTES} bytes"
            )
        return value

    def seconds(self, scalars: Mapping[str, str], name: str) -> int:
        value = number(scalars[name])
        if value is None:
            self._complaints.append(
                f"{name} is {scalars[name]!r}: it must be a number of seconds, 0 or up"
            )
        return value or 0

    def path(self, scalars: Mapping[str, str], name: str) -> str:
        value = scalars[name]
        if value and (not value.startswith("/") or "\0" in value):
            self._complaints.append(f"{name} is {value!r}: it must be an absolute path")
        return value

    def flag(self, values: Mapping[str, str], name: str, attribute: str = "") -> bool:
        value = values[name]
        if value not in {"0", "1"}:
            label = f"{attribute}.{name}" if attribute else name
            self._complaints.append(f"{label} is {value!r}: it must be 0 or 1")
        return value == "1"

    def aep_timeout(self, given: Mapping[str, list[str]]) -> int | None:
        values = given.get("AEPTimeout")
        if not values:
            return None
        value = number(values[0])
        if not value:
            self._complaints.append(f"AEPTimeout is {values[0]!r}: it must be a number of seconds")
        return value
