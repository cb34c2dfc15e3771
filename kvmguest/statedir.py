"""What must outlive a process: small private files that only this agent reads and writes.

Losing most of them loses only speed and brevity. Three are more: the note of a refused password
(without it an account may be locked), the note that a guest was migrated away (without it monitor
says OFFLINE instead of INTENTIONAL OFFLINE) and the CDs of guests with DROpts. Still every failure
to read or write is an answer and never an error: the caller knows what it means, and says so.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator

_LOCK_PAUSE_S = 0.02


class StateDir:
    """Texts by name in one directory, which must be ours and closed to everybody else."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, name: str) -> str | None:
        """The text, or None when there is none that can be trusted."""
        if not self._is_private():
            return None
        try:
            with open(self._file(name), encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError):
            return None

    def write(self, name: str, text: str) -> bool:
        """Replace the text in one step; False when it could not be kept."""
        beside = f"{self._file(name)}.{os.getpid()}"
        try:
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            if not self._is_private():
                return False
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(beside, self._file(name))
        except (OSError, UnicodeEncodeError):
            self._remove(beside)
            return False
        return True

    def forget(self, name: str) -> None:
        """Drop the text, if there is one."""
        if self._is_private():
            self._remove(self._file(name))

    def passable_folder(self, name: str) -> str | None:
        """The path of a folder in it whose files others may read if they know their names.

        For that the directory is opened just enough to be passed through: nobody else can list it,
        and its own files stay closed. None when the folder cannot be made. No text has a name that
        ends in ``.d``.
        """
        path = os.path.join(self._path, name)
        try:
            os.makedirs(self._path, mode=0o711, exist_ok=True)
            if not self._is_private():
                return None
            for folder in (self._path, path):
                if not os.path.isdir(folder):
                    os.mkdir(folder, 0o711)
                mode = stat.S_IMODE(os.stat(folder).st_mode)
                os.chmod(folder, mode | 0o011)  # noqa: S103 - its use is to be passed through
        except OSError:
            return None
        return path

    def forget_all(self, prefix: str) -> None:
        """Drop every text whose name begins so."""
        try:
            names = os.listdir(self._path) if self._is_private() else []
        except OSError:
            return
        for name in names:
            if name.startswith(prefix):
                self._remove(os.path.join(self._path, name))

    @contextlib.contextmanager
    def locked(self, name: str, seconds: float) -> Iterator[bool]:
        """Keep other processes out of ``name`` for a while.

        False when another process held it for all of ``seconds``. Where the directory cannot be
        used there is nobody to keep out, and the answer is True. The lock dies with its process.
        """
        handle = self._open_lock(f"{name}.lock")
        if handle is None:
            yield True
            return
        try:
            yield _lock(handle, seconds)
        finally:
            os.close(handle)

    def _open_lock(self, name: str) -> int | None:
        try:
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            if not self._is_private():
                return None
            return os.open(self._file(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None

    def _is_private(self) -> bool:
        """A directory that others may write to could hold anything."""
        try:
            seen = os.lstat(self._path)
        except OSError:
            return False
        closed = not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        return stat.S_ISDIR(seen.st_mode) and closed and seen.st_uid == os.geteuid()

    def _file(self, name: str) -> str:
        """VCS's resource names are plain; anything else becomes a plain file name too."""
        letters = name.replace("_", "").replace("-", "").replace(".", "")
        is_plain = name.isascii() and letters.isalnum() and not name.startswith((".", "x."))
        return os.path.join(self._path, name if is_plain else "x." + os.fsencode(name).hex()[:200])

    @staticmethod
    def _remove(path: str) -> None:
        try:
            os.unlink(path)
        except OSError:
            return


class MigratedMarker:
    """The note that a guest was moved away on purpose, kept per resource.

    It holds the guest's name, so that a resource whose GuestName changes does not inherit it.
    """

    def __init__(self, memory: StateDir, resource: str, guest: str) -> None:
        self._memory = memory
        self._name = f"{resource}.migrated"  # the resource's own name holds monitor's last verdict
        self._guest = guest

    def target(self) -> str | None:
        """Where the guest was moved to, "" when that is not known; None without the note."""
        lines = (self._memory.read(self._name) or "").split("\n")
        return lines[1] if len(lines) == 2 and lines[0] == self._guest else None

    def set(self, target: str) -> bool:
        """Write the note; False when it could not be kept."""
        return self._memory.write(self._name, f"{self._guest}\n{' '.join(target.split())}")

    def clear(self) -> None:
        """Drop the note, if there is one."""
        self._memory.forget(self._name)


def _lock(handle: int, seconds: float) -> bool:
    import fcntl  # noqa: PLC0415 - few calls need a lock

    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # noqa: PERF203 - it is waited for
            if time.monotonic() >= end:
                return False
            time.sleep(_LOCK_PAUSE_S)
        else:
            return True
