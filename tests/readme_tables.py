"""The verdict tables of the README, from the tables the agent works with.

python3 -m tests.readme_tables            prints them
python3 -m tests.readme_tables --write    puts them into README.md
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from kvmguest import states, states_rhev
from kvmguest.states import Condition, Row, Verdict
from kvmguest.vcs import monitor_exit

README = Path(__file__).parent.parent / "README.md"
LIBVIRT = "<!-- libvirt verdicts -->\n"
RHEV = "<!-- RHEV-M verdicts -->\n"
END = "<!-- end -->\n"


def libvirt_table() -> str:
    """Markdown: what libvirt says, the verdict, monitor's exit code, and the next step."""
    lines = ["| libvirt says | verdict | exit | what to do |", "|---|---|---|---|"]
    cells = list(states.LIBVIRT_TABLE.items())
    for (state, row), group in itertools.groupby(cells, lambda cell: (cell[0][0], cell[1])):
        reasons = [reason for (_state, reason), _row in group]
        if reasons == list(states.LIBVIRT_REASONS.get(state, ())):
            reasons = ["any reason"]
        words = f"{state} ({', '.join(reasons)})" if any(reasons) else state
        lines.append(_line(words, row))
        if row.condition is Condition.RUNNING and state == "running":
            silent = f"running, but QEMU has not answered for {states.QEMU_SILENT_S:.0f} s"
            lines.append(_line(silent, states.QEMU_SILENT))
    saved = states.LIBVIRT_TABLE["shut off", "saved"]
    lines += [
        _line("shut off (any reason), and there is a managed save image", saved),
        _line("shut off or not defined, but its QEMU process is still here", states.LEFTOVER),
        _line("any other state or reason, also of a later libvirt", states.UNLISTED),
    ]
    return "\n".join(lines) + "\n"


def _line(words: str, row: Row) -> str:
    answer = row.state.value
    if row.confidence:
        answer += f" {row.confidence}"
    if row.is_problem:
        answer += ", WARNING"
    return f"| {words} | {answer} | {_code(row)} | {row.advice} |"


def rhev_table() -> str:
    """Markdown: RHEV-M's status, and the verdict for each place the VM may be at."""
    heads = ("on this host", "on another host", "no host shown", "this host not identified")
    lines = [f"| RHEV-M says | {' | '.join(heads)} |", "|---|---|---|---|---|"]
    statuses = dict.fromkeys(status for status, _place in states_rhev.RHEV_TABLE)
    for status in [*statuses, "any other word, or none"]:
        rows = [
            states_rhev.RHEV_TABLE.get((status, place), states_rhev.UNLISTED)
            for place in states_rhev.PLACES
        ]
        lines.append(f"| {status} | {' | '.join(map(_answer, rows))} |")
    return "\n".join(lines) + "\n"


def _answer(row: Row) -> str:
    answer = row.state.value + (f" {row.confidence}" if row.confidence else "")
    return f"{answer}, {_code(row)}"


def _code(row: Row) -> int:
    return monitor_exit(Verdict(row.state, row.confidence, row.condition, row.is_problem, ""))


def in_readme(start: str) -> str:
    """What the README has after a mark."""
    text = README.read_text(encoding="utf-8")
    return text.partition(start)[2].partition(END)[0]


def main() -> None:
    """Print the tables, or put them into the README."""
    for mark, table in ((LIBVIRT, libvirt_table()), (RHEV, rhev_table())):
        if sys.argv[1:] == ["--write"]:
            text = README.read_text(encoding="utf-8")
            before, start, rest = text.partition(mark)
            _old, end, after = rest.partition(END)
            README.write_text(before + start + table + end + after, encoding="utf-8")
        else:
            sys.stdout.write(table)


if __name__ == "__main__":
    main()
