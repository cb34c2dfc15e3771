"""Plays every scenario under both agents and prints a Markdown table: python3 -m tests.cluster."""

from __future__ import annotations

import argparse
import itertools
import secrets
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster import report
from tests.cluster.engine import Agent, kvmguest, virtual_domain
from tests.cluster.observer import Record
from tests.cluster.pair import BIN, Pair
from tests.cluster.play import Outcome, judge, play
from tests.cluster.scenarios import LONG, SHORT, Scenario, random_rounds
from tests.lab.image import build_image
from tests.lab.namespaces import LabError
from tests.lab.packages import PackagesMissingError, ensure_packages
from tests.packages import TEST_PACKAGES


def main() -> int:
    """Play; 0 when our agent was right in every scenario, 1 when not, 2 when nothing could run."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster", description=__doc__)
    parser.add_argument("--only", default=[""], nargs="+", help="scenarios whose name has one of")
    parser.add_argument("--agent", default="", help="KVMGuest or VirtualDomain; both if absent")
    parser.add_argument("--rounds", type=int, default=20, help="random rounds")
    parser.add_argument("--seed", type=int, help="of the random rounds")
    parser.add_argument("--log", type=Path, default=Path("/tmp/kvmguest-cluster.log"))
    words = parser.parse_args()
    seed = secrets.randbelow(10**6) if words.seed is None else words.seed
    blocks = [
        [scenario for scenario in block if any(w in scenario.name for w in words.only)]
        for block in ((*SHORT, *LONG), random_rounds(seed, words.rounds))
    ]
    try:
        ensure_packages(TEST_PACKAGES, Path("/tmp/kvmguest-test-packages.log"))
        image = build_image()
        count = sum(map(len, blocks))
        print(f"{count} scenarios, seed {seed}; timelines go to {words.log}", flush=True)
        outcomes: list[Outcome] = []
        began = time.monotonic()
        with Pair(image) as pair, words.log.open("w", encoding="utf-8") as log:
            agents = [kvmguest(BIN, pair.config), virtual_domain(pair.config)]
            agents = [agent for agent in agents if words.agent in {"", agent.label}]
            for block, agent in itertools.product(blocks, agents):
                for scenario in block:
                    outcome = _play(pair, agent, scenario)
                    outcomes.append(outcome)
                    print(report.timeline(outcome), end="\n\n", file=log, flush=True)
                    print(report.headline(outcome), flush=True)
    except (LabError, PackagesMissingError, OSError) as error:
        print(f"tests.cluster (as root?): {error}", file=sys.stderr)
        return 2
    if not outcomes:
        print("tests.cluster: no scenario has such a name", file=sys.stderr)
        return 2
    print(
        f"\n{report.table(outcomes)}\n\n{(time.monotonic() - began) / 60:.0f} minutes, seed {seed}"
    )
    return 0 if all(o.is_right for o in outcomes if o.agent == "KVMGuest") else 1


def _play(pair: Pair, agent: Agent, scenario: Scenario) -> Outcome:
    """One scenario; a pair that cannot be brought in order does not end the run."""
    try:
        return play(pair, agent, scenario, lambda text: print(text, flush=True))
    except (LabError, OSError, subprocess.TimeoutExpired) as error:
        pair.formed = None
        nothing = Record((), ("",), 0, ())
        return judge(agent.label, scenario, nothing, 0, 0, f"not played: {error}")


if __name__ == "__main__":
    sys.exit(main())
