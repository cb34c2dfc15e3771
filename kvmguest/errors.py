"""Everything that can go wrong, drawn by who has to act.

::

    KvmGuestError
      ConfigError          an attribute or option is missing or malformed: the administrator
      BackendError
        Unreachable        nobody answers at the address: libvirtd or RHEV-M is down
        Silent             no answer within the time given: it hangs, nothing can be told
        Untrusted          somebody answers, but its certificate does not prove who it is
        Refused            it answered: these credentials may not do that
        GuestNotFound      it answered: there is no guest of that name
        GuestAmbiguous     it answered: there is more than one
        WrongState         not possible in the guest's present state: look again, then decide
        RunsElsewhere      a lock or another host holds the guest: not a fault of this node
        OperationFailed    it tried and failed

Not found and not reachable are never caught together: the first is a fact, the second is not.
Which verdict an error means is written in ``states``; this module knows no exit codes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence


class KvmGuestError(Exception):
    """Root of all errors raised on purpose."""


class ConfigError(KvmGuestError):
    """The configuration cannot be used; carries every complaint, not only the first."""

    def __init__(self, complaints: Sequence[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = tuple(complaints)


class BackendError(KvmGuestError):
    """The hypervisor or its manager could not do, or say, what was asked."""


class Unreachable(BackendError):
    """Nobody answers: connection refused, no socket, or the link broke."""


class Silent(BackendError):
    """No answer within the slice of the deadline that the call was given."""


class Untrusted(BackendError):
    """The other side's certificate does not prove that it is the one that was asked for."""


class Refused(BackendError):
    """Authentication or permission was denied."""


class GuestNotFound(BackendError):
    """The other side answered that it has no guest of this name."""


class GuestAmbiguous(BackendError):
    """The other side answered that it has several guests of this name."""


class WrongState(BackendError):
    """The guest's present state does not allow the operation."""


class RunsElsewhere(BackendError):
    """The guest, or its disk, is in use somewhere else."""


class OperationFailed(BackendError):
    """The operation was tried and failed."""


@contextlib.contextmanager
def needing_lxml() -> Iterator[None]:
    """Around an import that needs lxml, which a monitor and most starts do without.

    Raises:
        OperationFailed: it is not installed; the message says the next step.
    """
    try:
        yield
    except ImportError as error:
        raise OperationFailed(f"{error}: install the package python3-lxml") from error
