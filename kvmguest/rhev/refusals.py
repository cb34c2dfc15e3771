"""A wrong password is not repeated quickly: the engine locks accounts after a few failures.

Each attempt is noted before the password is sent, and the note is dropped when RHEV-M has let us
in. So an attempt whose answer came too late, or whose process was killed, is counted too. The note
is kept per cipher text: two resources with different ones must not erase each other's. Where the
state directory cannot be used it is kept in this process, which then logs in once and not at every
look.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from kvmguest import errors
from kvmguest.log import Log
from kvmguest.rhev.login import LoginRefused, LoginUnanswered, Place

PREFIX = "rhev.refused."
"""``entry`` drops all such notes when the configuration changes."""
REFUSED, UNANSWERED = "refused", "unanswered"
PAUSES_S = {REFUSED: (300.0, 900.0, 3600.0), UNANSWERED: (0.0, 60.0, 60.0)}
"""Pauses after the first, second and each later failure; aaa-jdbc locks after five in a row.

No answer is rather an engine that hangs for a while than a refusal. A node that waited longer could
not take a guest over once RHEV-M is back.
"""


class _Note(NamedTuple):
    """Failures in a row, the monotonic second of the last one, and how that ended."""

    times: int
    moment: int
    end: str


class Refusals:
    """The failures in a row of one password at one RHEV-M."""

    def __init__(self, place: Place, key: str, engine: str, log: Log) -> None:
        """``key`` names the session, ``engine`` is RHEV-M's address for messages."""
        cipher = place.info.password.encode(errors="replace")
        self._key = f"{key} {crc32(cipher):08x}"
        self._name = f"{PREFIX}{crc32(self._key.encode()):08x}"
        self._place = place
        self._engine = engine
        self._log = log
        self._unkept = ""

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Around one login.

        Raises:
            Refused: the last failure is too short ago to try again.
        """
        before = self._recall()
        self._heed(before)
        times = before.times + 1
        self._write(_Note(times, int(time.monotonic()), UNANSWERED))
        try:
            yield
        except LoginRefused:
            self._write(_Note(times, int(time.monotonic()), REFUSED))
            self._warn_if_unkept()
            raise
        except LoginUnanswered:
            self._warn_if_unkept()
            raise
        except errors.KvmGuestError:  # the password was not judged
            self._write(before)
            raise
        self._write(_Note(0, 0, REFUSED))

    def _heed(self, note: _Note) -> None:
        if not note.times:
            return
        past_s = time.monotonic() - note.moment  # below 0 after a reboot
        pauses_s = PAUSES_S[note.end]
        pause_s = pauses_s[min(note.times, len(pauses_s)) - 1]
        if not 0 <= past_s < pause_s:
            return
        user = self._place.info.user
        happened, advice = {
            REFUSED: (
                f"refused user {user}",
                "correct RHEVMInfo's User and Password, or unlock the account and run attr_changed",
            ),
            UNANSWERED: (
                f"did not answer the last login of {user}, so the password may be wrong",
                "see the load and the log of RHEV-M, then run attr_changed",
            ),
        }[note.end]
        raise errors.Refused(
            f"{self._engine} {happened}; not tried again for {pause_s - past_s:.0f} s, lest the "
            f"account be locked: {advice}"
        )

    def _warn_if_unkept(self) -> None:
        if self._unkept:
            self._log.warning(
                f"this failure cannot be kept in {self._place.site.vcs_state_dir}, so while the "
                f"password is wrong every call sends it again, and the account may be locked: see "
                f"that the directory is root's, mode 0700, and its disk is not full"
            )

    def _recall(self) -> _Note:
        text = self._unkept or self._place.memory.read(self._name) or ""
        key, _newline, rest = text.partition("\n")
        words = rest.split(" ")
        if key != self._key or len(words) != 3 or words[2] not in PAUSES_S:
            return _Note(0, 0, REFUSED)
        count, moment, end = words
        if not (count.isdigit() and moment.isdigit()):
            return _Note(0, 0, REFUSED)
        return _Note(int(count), int(moment), end)

    def _write(self, note: _Note) -> None:
        """Keep it; one without failures is no note."""
        self._unkept = ""
        if not note.times:
            self._place.memory.forget(self._name)
            return
        text = f"{self._key}\n{note.times} {note.moment} {note.end}"
        if not self._place.memory.write(self._name, text):
            self._unkept = text
