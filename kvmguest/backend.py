"""The seam between what an entry point does and the hypervisor it does it to."""

from __future__ import annotations

from typing import Protocol

from kvmguest.states import Verdict


class Backend(Protocol):
    """One guest on one kind of hypervisor, within one deadline.

    ``look`` never raises: what cannot be seen is a verdict too. The others raise BackendError,
    return when the request was taken, and never conclude anything: the caller looks again.
    """

    def look(self) -> Verdict:
        """Ask for the guest's state, and judge it."""

    def start(self) -> None:
        """Start a guest that does not run, defining or restoring it where that is needed.

        With DROpts it gets the network of this site. Raises ConfigError before the guest is
        touched when they are wrong: rather down than up at the wrong address.
        """

    def resume(self) -> None:
        """Let a paused guest go on."""

    def wake(self) -> None:
        """Wake a guest that suspended itself to RAM."""

    def shutdown(self) -> None:
        """Ask the guest to shut down, as its power button would."""

    def destroy(self) -> None:
        """End the guest by force."""

    def save_configuration(self) -> str:
        """Copy the guest's configuration to SyncDir; what was written, "" when nothing had to be.

        A no-op where the hypervisor's manager keeps the configuration of its guests. Raises
        GuestNotFound when the hypervisor does not know the guest, and did not before it ended.
        """

    def redefine(self) -> str:
        """Define this node's guest, which is off, from its document; what changed, "" if nothing.

        A no-op like ``save_configuration``.
        """

    def migrate(self, target: str) -> bool:
        """Move the running guest, live, to the VCS system ``target``.

        True only when it verifiably runs there: both ends were asked, whatever the call returned.
        A migration that cannot end before the deadline is aborted in time.
        """
