"""The site's options: /etc/kvmguest.conf, an INI file that need not exist."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

DEFAULT_PATH = "/etc/kvmguest.conf"


class Options(NamedTuple):
    """Every option with its default; the names are ``<section>_<option>`` of the file.

    ``libvirt_uri`` "" leaves the choice to libvirt (LIBVIRT_DEFAULT_URI, libvirt.conf, probing).
    """

    libvirt_uri: str = ""
    libvirt_probe: bool = False
    vcs_state_dir: str = "/var/lib/kvmguest"
    complaints: tuple[str, ...] = ()


def load(env: Mapping[str, str]) -> Options:
    """Read the options of this site; what is wrong with the file is in ``complaints``."""
    path = env.get("KVMGUEST_CONF") or DEFAULT_PATH
    if not os.path.exists(path):
        return Options()
    import configparser  # noqa: PLC0415 - most sites have no file, and it costs a few ms

    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        return Options(complaints=(f"{path} cannot be read: {error}",))
    values: dict[str, str | bool] = {}
    complaints = []
    for section in parser.sections():
        for option, text in parser[section].items():
            name = f"{section}_{option}"
            default = Options._field_defaults.get(name)
            if not isinstance(default, (str, bool)):
                complaints.append(f"{path}: [{section}] {option} is not an option of this agent")
            elif not isinstance(default, bool):
                values[name] = text
            elif text.lower() in _BOOLEANS:
                values[name] = _BOOLEANS[text.lower()]
            else:
                complaints.append(f"{path}: [{section}] {option} is {text!r}: yes or no is needed")
    return Options(**values, complaints=tuple(complaints))  # type: ignore[arg-type] # compared above


_BOOLEANS = MappingProxyType(
    {
        "yes": True,
        "true": True,
        "on": True,
        "1": True,
        "no": False,
        "false": False,
        "off": False,
        "0": False,
    }
)
