"""The double in a process of its own, where its CPU time must not be the test's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


_ROOT = Path(__file__).parents[3]


class ManagerElsewhere:
    """A Manager in another process: `with ManagerElsewhere("--profile", "4.4") as m: m.tell(...)`.

    Args:
        arguments: of `python3 -m tests.doubles.manager`.
    """

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.doubles.manager", "--until-eof", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        self.url = self._read("url")
        self.ca_file = self._read("ca")
        self.user_name = self._read("user")

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the double ended with {self.process.wait()}")
        return line.rstrip("\n")

    def _read(self, name: str) -> str:
        word, _, value = self._line().partition(" ")
        if word != name:
            raise RuntimeError(f"the double said {word} {value}")
        return value

    def tell(self, order: str) -> str:
        """Give one order of console; the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        answer = self._line()
        if answer.startswith("what?"):
            raise ValueError(answer)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.process.communicate()  # the end of its input is its end
