"""The resource type is the vendor's, attribute by attribute, and the parser knows its defaults."""

from __future__ import annotations

import re
from pathlib import Path

from kvmguest import arglist, vcs
from tests.contract.conftest import BIN, ROOT

TYPES = (ROOT / "types/KVMGuestTypes.cf").read_text()
VENDORS = (Path(__file__).parent.parent / "data/KVMGuestTypes.vendor.cf").read_text()

_LINE = re.compile(r"^\s*(static )?(str|int|boolean|keylist) (\w+)(\{\}|\[\])?(?: = (.*))?$")


def attributes(text: str, *, static: bool) -> dict[str, str | list[str] | dict[str, str]]:
    """The attributes of the type and their defaults; values of braces as a list or dict."""
    found: dict[str, str | list[str] | dict[str, str]] = {}
    for match in filter(None, map(_LINE.match, text.splitlines())):
        is_static, _kind, name, _dimension, default = match.groups()
        if bool(is_static) is not static:
            continue
        value = (default or "").strip()
        words = [word.strip().strip('"') for word in value.strip("{} ").split(",")]
        if not value.startswith("{"):
            found[name] = value
        elif "=" in value:
            found[name] = dict(word.split("=", 1) for word in words)
        else:
            found[name] = words
    return found


def test_the_type_is_the_vendors() -> None:
    assert TYPES == VENDORS


def test_the_parser_has_the_types_defaults_in_the_types_order() -> None:
    ours = attributes(TYPES, static=False)
    assert ours == arglist.DEFAULTS
    assert attributes(TYPES, static=True)["ArgList"] == list(arglist.DEFAULTS)


def test_the_static_values() -> None:
    static = attributes(TYPES, static=True)
    assert static["AEPTimeout"] == static["IntentionalOffline"] == "1"
    assert static["MigrateTimeout"] == str(vcs.ENTRY_POINTS["migrate"].limit_s)


def test_every_supported_operation_has_its_executable() -> None:
    operations = attributes(TYPES, static=True)["SupportedOperations"]
    assert operations == ["migrate"]
    assert (BIN / "migrate").exists()
