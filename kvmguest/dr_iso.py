"""The CD for plain KVM: the file of ``drnet`` as an ISO 9660 image.

On RHEV-M the manager makes this CD itself. The image has Rock Ridge and Joliet names, so the guest
sees the file's name as it is, and carries a fixed date: the same text always gives the same bytes,
and whether the CD has to be replaced is one comparison.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kvmguest import drnet
from kvmguest.drnet import FILE_NAME, VOLUME_LABEL
from kvmguest.errors import ConfigError

_ISO_NAME = "/VCS_NET.CNF;1"  # for readers that know neither Rock Ridge nor Joliet: 8.3 only
_DATE = 946684800.0  # 2000-01-01 00:00:00 UTC, seconds since the epoch


class NetworkIso(NamedTuple):
    """The parameters for a guest, and the image of the CD that takes them to it."""

    parameters: drnet.NetworkParameters
    image: bytes


def network_iso(options: Mapping[str, str]) -> NetworkIso | None:
    """What DROpts makes; None when its ConfigureNetwork is 0.

    Raises:
        ConfigError: every mistake in DROpts, or pycdlib is not installed.
    """
    parameters = drnet.parse(options)
    if parameters is None:
        return None
    return NetworkIso(parameters, build_iso(drnet.payload(parameters)))


def build_iso(text: str) -> bytes:
    """Return the image of a CD labelled VOLUME_LABEL whose only file, FILE_NAME, holds ``text``.

    Raises:
        ConfigError: the optional library pycdlib is not installed.
    """
    try:
        from pycdlib import PyCdlib  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        complaint = (
            "DROpts ConfigureNetwork is 1, but this node cannot make the CD for the guest: Python's"
            " pycdlib is missing (Debian and Ubuntu: package python3-pycdlib; elsewhere:"
            " python3 -m pip install pycdlib)"
        )
        raise ConfigError([complaint]) from error
    content = text.encode("utf-8")
    image = io.BytesIO()
    with _fixed_date():
        iso = PyCdlib()
        iso.new(interchange_level=1, vol_ident=VOLUME_LABEL, joliet=3, rock_ridge="1.09")
        iso.add_fp(
            io.BytesIO(content),
            len(content),
            _ISO_NAME,
            rr_name=FILE_NAME,
            joliet_path="/" + FILE_NAME,
            file_mode=0o100444,
        )
        iso.write_fp(image)
        iso.close()
    return image.getvalue()


class _FixedTime:
    """As much of the ``time`` module as pycdlib uses; it is always ``_DATE``, in UTC."""

    gmtime = localtime = staticmethod(time.gmtime)
    strftime = staticmethod(time.strftime)

    @staticmethod
    def time() -> float:
        return _DATE


@contextlib.contextmanager
def _fixed_date() -> Iterator[None]:
    """Let pycdlib, and nothing else in the process, live in ``_DATE``: it has no option for it."""
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith("pycdlib.") and getattr(module, "time", None) is time
    ]
    for module in modules:
        vars(module)["time"] = _FixedTime
    try:
        yield
    finally:
        for module in modules:
            vars(module)["time"] = time
