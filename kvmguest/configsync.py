"""The guest's persistent definition and its copies: SyncDir and GuestConfigFilePath.

libvirt is behind two methods, so nothing here imports it. A document on disk never takes the place
of a better one, and a definition in libvirt is never lost to a bad document: whatever is done is
read back.
"""

from __future__ import annotations

import os
from typing import Callable, NamedTuple, Protocol, TypeVar

from kvmguest import guestxml
from kvmguest.arglist import GuestConfig
from kvmguest.deadline import Deadline, call_within
from kvmguest.errors import BackendError, OperationFailed
from kvmguest.guestxml import Document
from kvmguest.log import Log

T = TypeVar("T")

FILE_LIMIT_S = 10.0
"""So long a file may take: SyncDir is often on NFS, which hangs when its server is away."""


class Libvirt(Protocol):
    """What is asked of libvirt here. Both raise BackendError."""

    def dump(self) -> str:
        """Virsh dumpxml --inactive --security-info."""

    def define(self, text: str) -> None:
        """Virsh define."""


class Source(NamedTuple):
    """A document that may be defined, and the file it is from."""

    path: str
    document: Document


class ConfigSync:
    """The copies of one guest's definition."""

    def __init__(self, config: GuestConfig, deadline: Deadline, log: Log, libvirt: Libvirt) -> None:
        self._config = config
        self._guest = config.guest
        self._deadline = deadline
        self._log = log
        self._libvirt = libvirt
        # The extension keeps a guest named "." or ".." in its directory; a slash is refused before.
        self._copy = os.path.join(config.sync_dir, f"{self._guest}.xml")
        self._nvram_copy = os.path.join(config.sync_dir, f"{self._guest}.nvram")

    def save(self) -> str:
        """Copy definition and UEFI variables to SyncDir; what was written, "" when nothing was.

        Raises:
            BackendError: the copy in SyncDir is as good as it was before.
        """
        if not self._config.sync_dir:
            return ""
        document = self._read_back()
        return self._within("writing to SyncDir", lambda: self._write_copies(document))

    def define(self) -> None:
        """Define a guest that libvirt does not know, and restore its UEFI variables.

        Raises:
            BackendError: there is no usable document, or libvirt refused it.
        """
        source = self._within("reading the configuration", self._find_source)
        if not source.document.uuid:
            self._log.warning(
                f"{source.path} names no uuid: each node makes up one of its own; "
                "take the file from virsh dumpxml --inactive"
            )
        self._libvirt.define(source.document.text)
        self._log.info(f"{self._guest}: defined from {source.path}")
        self._restore_nvram(self._read_back())

    def redefine(self) -> Callable[[], str] | None:
        """Bring the definition of a guest that is off in step with its document.

        Returns a function that takes it back and tells so, None when nothing had to change.

        Raises:
            BackendError: the document cannot be used; what was defined before still is, or the
                message says otherwise.
        """
        old = self._read_back()
        path, new = self._within("reading the configuration", self._find_source)
        if new.uuid != old.uuid:
            raise OperationFailed(
                f"{path} has the uuid {new.uuid or '(none)'}, but {self._guest} is {old.uuid} here:"
                " not redefined"
            )
        now = old
        if not guestxml.is_same(new, old):
            try:
                self._libvirt.define(guestxml.with_macs_of(new, old))
                now = self._read_back()
            except BackendError as error:
                raise OperationFailed(f"{path}: {error}; {self._bring_back(old)}") from error
        self._restore_nvram(now, is_resync=True)
        if guestxml.is_same(now, old):
            return None  # only the writing differs, or what libvirt adds itself
        self._log.info(f"{self._guest}: redefined from {path}")
        return lambda: self._bring_back(old)

    def _find_source(self) -> Source:
        """The document in SyncDir, else the one GuestConfigFilePath names."""
        paths = [self._copy] if self._config.sync_dir else []
        paths += [self._config.config_file] if self._config.config_file else []
        complaints = []
        for path in paths:
            try:
                document = guestxml.read(path, self._guest)
            except OperationFailed as error:
                complaints.append(str(error))
                continue
            if complaints:
                self._log.warning(f"{'; '.join(complaints)}. Using {path}")
            return Source(path, document)
        why = "; ".join(complaints) or "define it, or set GuestConfigFilePath or SyncDir"
        raise OperationFailed(f"{self._guest}: no document to define: {why}")

    def _read_back(self) -> Document:
        """What libvirt has, which must be this guest."""
        document = guestxml.parse(self._libvirt.dump().encode(), "what libvirt has")
        if document.name != self._guest or not document.uuid:
            raise OperationFailed(f"libvirt answered for {self._guest} with {document.name!r}")
        return document

    def _bring_back(self, old: Document) -> str:
        """Make ``old`` the definition again if it is not; the outcome as a clause."""
        if self._has(old):
            return "the definition is as it was"
        why = "libvirt has another one now"
        try:
            self._libvirt.define(old.text)
        except BackendError as error:
            why = str(error)
        if self._has(old):
            return "the previous definition is restored"
        return f"the previous definition could not be restored: {why}; check virsh dumpxml"

    def _has(self, document: Document) -> bool:
        try:
            return guestxml.is_same(self._read_back(), document)
        except BackendError:
            return False

    def _write_copies(self, document: Document) -> str:
        written = [
            path for path in (self._write_xml(document), self._write_nvram(document)) if path
        ]
        return f"saved {' and '.join(written)}" if written else ""

    def _write_xml(self, document: Document) -> str:
        path = self._copy
        content = document.text.encode() + b"\n"
        if os.path.lexists(path):
            raw = guestxml.read_file(path, guestxml.MAX_BYTES)
            try:
                there = guestxml.parse(raw, path)
            except OperationFailed as error:
                self._log.warning(f"{error}; replaced")
            else:
                if there.name != document.name or there.uuid not in {"", document.uuid}:
                    raise OperationFailed(
                        f"{path} describes {there.name} with uuid {there.uuid}, this guest has "
                        f"{document.uuid}: remove the file if the guest was made anew"
                    )
                if guestxml.is_same(there, document):
                    return ""
                guestxml.replace_file(f"{path}.previous", raw)
        guestxml.replace_file(path, content)
        return path

    def _write_nvram(self, document: Document) -> str:
        if not os.path.isabs(document.nvram) or not os.path.exists(document.nvram):
            return ""
        path = self._nvram_copy
        content = self._variables(document.nvram)
        if os.path.lexists(path):
            there = guestxml.read_file(path, guestxml.MAX_NVRAM_BYTES)
            if there == content:
                return ""
            if guestxml.is_variable_store(there):
                guestxml.replace_file(f"{path}.previous", there)
        guestxml.replace_file(path, content)
        return path

    def _restore_nvram(self, document: Document, *, is_resync: bool = False) -> None:
        """Put the saved UEFI variables where the definition wants them, if nothing is there.

        Without them libvirt starts the guest with empty ones, which often does not boot. libvirt
        gives the file to QEMU's user when the guest starts. A resync takes newer ones, too: the
        guest runs on one node at a time, so who wrote last knows best; the old ones are kept.
        """
        if not self._config.sync_dir or not os.path.isabs(document.nvram):
            return

        def restore() -> bool:
            if not os.path.exists(self._nvram_copy):
                return False
            is_there = os.path.lexists(document.nvram)
            if is_there and not (is_resync and _is_newer(self._nvram_copy, document.nvram)):
                return False
            content = self._variables(self._nvram_copy)
            if is_there:
                mine = self._variables(document.nvram)
                if mine == content:
                    return False
                guestxml.replace_file(f"{document.nvram}.previous", mine)
            os.makedirs(os.path.dirname(document.nvram), mode=0o711, exist_ok=True)
            guestxml.replace_file(document.nvram, content)
            return True

        try:
            is_restored = self._within("restoring the UEFI variables", restore)
        except BackendError as error:
            self._log.warning(f"{self._guest}: its UEFI variables are not restored: {error}")
            return
        if is_restored:
            self._log.info(f"{self._guest}: {document.nvram} restored from {self._nvram_copy}")

    @staticmethod
    def _variables(path: str) -> bytes:
        content = guestxml.read_file(path, guestxml.MAX_NVRAM_BYTES)
        if not guestxml.is_variable_store(content):
            raise OperationFailed(f"{path} is no UEFI variable store")
        return content

    def _within(self, what: str, function: Callable[[], T]) -> T:
        """Touch files: a file system may hang, or fail in a way that nobody thought of."""
        name = f"{self._guest}: {what}"
        try:
            return call_within(self._deadline.slice(FILE_LIMIT_S), name, function)
        except OSError as error:
            raise OperationFailed(f"{name}: {error}") from error


def _is_newer(path: str, than: str) -> bool:
    return os.stat(path).st_mtime > os.stat(than).st_mtime
