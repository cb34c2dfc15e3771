"""The site's options: /etc/kvmguest.conf, an INI file that need not exist."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Callable, NamedTuple

DEFAULT_PATH = "/etc/kvmguest.conf"

MIGRATE_FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "tunnelled": "VIR_MIGRATE_TUNNELLED",
        "compressed": "VIR_MIGRATE_COMPRESSED",
        "auto_converge": "VIR_MIGRATE_AUTO_CONVERGE",
        "postcopy": "VIR_MIGRATE_POSTCOPY",
        "parallel": "VIR_MIGRATE_PARALLEL",
        "tls": "VIR_MIGRATE_TLS",
        "unsafe": "VIR_MIGRATE_UNSAFE",
        "abort_on_error": "VIR_MIGRATE_ABORT_ON_ERROR",
    }
)
"""What [libvirt] migrate_flags may name, and libvirt's word for it."""


class Options(NamedTuple):
    """Every option with its default; the names are ``<section>_<option>`` of the file.

    ``libvirt_uri`` "" leaves the choice to libvirt (LIBVIRT_DEFAULT_URI, libvirt.conf, probing).
    ``libvirt_migrate_uri`` and ``libvirt_migrate_data_uri`` have {target} where the host's name
    goes; bandwidth in MiB/s, 0 leaves it to libvirt. ``rhev_ca_file`` "" takes vdsm's, else the
    system's certificates; ``rhev_api_version`` is auto, 3 or 4. ``vcs_same_site`` names the VCS
    systems of this node's site, to which a guest with DROpts may move. ``hosts`` is the section of
    that name: VCS system -> name of the host in libvirt or RHEV-M, where they differ.
    """

    libvirt_uri: str = ""
    libvirt_probe: bool = False
    libvirt_migrate_uri: str = "qemu+ssh://{target}/system"
    libvirt_migrate_data_uri: str = ""
    libvirt_migrate_bandwidth_mib: int = 0
    libvirt_migrate_flags: frozenset[str] = frozenset()
    rhev_ca_file: str = ""
    rhev_api_version: str = "auto"
    rhev_verify: bool = True
    vcs_state_dir: str = "/var/lib/kvmguest"
    vcs_same_site: frozenset[str] = frozenset()
    vcs_decrypt_command: str = ""
    hosts: Mapping[str, str] = MappingProxyType({})
    complaints: tuple[str, ...] = ()


def load(env: Mapping[str, str]) -> Options:
    """Read the options of this site; what is wrong with the file is in ``complaints``.

    A comment may stand behind a value, after a blank and a semicolon.
    """
    path = env.get("KVMGUEST_CONF") or DEFAULT_PATH
    if not os.path.exists(path):
        return Options()
    import configparser  # noqa: PLC0415 - most sites have no file, and it costs a few ms

    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    parser.optionxform = str  # type: ignore[assignment,method-assign] # VCS systems have capitals
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        return Options(complaints=(f"{path} cannot be read: {error}",))
    values: dict[str, Any] = {}
    if parser.has_section("hosts"):
        values["hosts"] = MappingProxyType(dict(parser["hosts"]))
        parser.remove_section("hosts")
    complaints = []
    for section, option, text in _given(parser):
        name = f"{section}_{option.lower()}"
        kind = type(Options._field_defaults.get(name))
        try:
            values[name] = _CONVERTERS[kind](text)
        except KeyError:
            complaints.append(f"{path}: [{section}] {option} is not an option of this agent")
        except ValueError as error:
            complaints.append(f"{path}: [{section}] {option} is {text!r}: {error}")
    unknown = sorted(values.get("libvirt_migrate_flags", frozenset()) - MIGRATE_FLAGS.keys())
    if unknown:
        complaints.append(
            f"{path}: [libvirt] migrate_flags: {' '.join(unknown)}: "
            f"known are {' '.join(MIGRATE_FLAGS)}"
        )
    if values.get("rhev_api_version", "auto") not in {"auto", "3", "4"}:
        complaints.append(f"{path}: [rhev] api_version must be auto, 3 or 4")
    return Options(**values, complaints=tuple(complaints))


def _given(parser: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str, str]]:
    """Section, option and value; an option without a value is as if it were not there."""
    return [(section, *item) for section in parser for item in parser[section].items() if item[1]]


def _yes_or_no(text: str) -> bool:
    word = text.lower()
    if word in {"yes", "true", "on", "1"}:
        return True
    if word in {"no", "false", "off", "0"}:
        return False
    raise ValueError("yes or no is needed")


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    raise ValueError("a number, 0 or up, is needed")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.replace(",", " ").split())


_CONVERTERS: Mapping[type, Callable[[str], Any]] = MappingProxyType(
    {str: str, bool: _yes_or_no, int: _number, frozenset: _words}
)
