"""What online does for DROpts on plain KVM: the CD is there, right and attached, or it is gone.

Only the inactive definition of a guest that is off is changed, and it is read back before anything
starts. libvirt is behind two methods, as in ``configsync``.
"""

from __future__ import annotations

import os

from kvmguest import dr_cdrom, drnet, guestxml
from kvmguest.configsync import Libvirt
from kvmguest.dr_iso import NetworkIso
from kvmguest.errors import OperationFailed
from kvmguest.log import Log
from kvmguest.statedir import StateDir

FOLDER = "dr.d"


class NetworkCd:
    """The CD with one guest's network parameters: a file in state_dir, and a drive of the domain.

    Both methods raise BackendError; the guest must not be started then.
    """

    def __init__(self, guest: str, state_dir: str, log: Log, libvirt: Libvirt) -> None:
        self._guest = guest
        self._memory = StateDir(state_dir)
        self._path = os.path.join(state_dir, FOLDER, f"{guest}.iso")
        self._log = log
        self._libvirt = libvirt

    def attach(self, iso: NetworkIso) -> None:
        """Make file and definition carry these parameters; nothing when they do."""
        # First the file, then what points to it.
        what = "replaced" if self._write(iso.image) else "unchanged"
        before = self._libvirt.dump()
        if not dr_cdrom.has_cd(before, self._path):
            self._redefine(before, dr_cdrom.with_cd(before, self._path))
            what = "attached"
        device = iso.parameters.device or "the first network card"
        self._log.info(
            f"{self._guest}: DROpts: {iso.parameters.interface} for {device} of the guest, on CD "
            f"{self._path}, {what}"
        )

    def detach(self) -> None:
        """Make file and definition forget the CD."""
        before = self._libvirt.dump()
        self._redefine(before, dr_cdrom.without_cd(before))
        self._log.info(f"{self._guest}: DROpts.ConfigureNetwork is 0: its CD is removed")
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:  # nothing points to it any more
            self._log.warning(f"{self._path} is not removed: {error.strerror}")

    def _redefine(self, before: str, wanted: str) -> None:
        """Define and read back: our CD as wanted, and every other drive as it was."""
        self._libvirt.define(wanted)
        after = self._libvirt.dump()
        if drnet.CD_ALIAS in wanted:
            is_right = dr_cdrom.has_cd(after, self._path)
        else:
            is_right = drnet.CD_ALIAS not in after
        if not is_right or dr_cdrom.other_drives(after) != dr_cdrom.other_drives(before):
            raise OperationFailed(
                "libvirt took a definition for the CD of DROpts, but what it has now is another:"
                " check virsh dumpxml --inactive"
            )

    def _write(self, image: bytes) -> bool:
        """Put the image where QEMU's user can read it; whether that changed anything."""
        if self._memory.passable_folder(FOLDER) is None:
            raise OperationFailed(
                f"{os.path.dirname(self._path)} cannot be made, or state_dir above it is not this"
                " user's alone: the CD of DROpts has no place"
            )
        if os.path.lexists(self._path):
            try:
                if guestxml.read_file(self._path, len(image)) == image:
                    return False
            except OperationFailed as error:
                self._log.debug(1, f"{error}; replaced")
        guestxml.replace_file(self._path, image, 0o644)
        return True
