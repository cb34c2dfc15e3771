"""bin/demo: the agent's main job, on a real guest, in the order in which VCS asks for it.

Without arguments everything is private: a libvirtd in namespaces of its own and a small Linux guest
that obeys its power button; both are gone afterwards. With ``--guest NAME`` a guest of this
machine's own libvirt is monitored and explained, and nothing is changed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable, NamedTuple

from tests.lab.guest import READY, obedient, wait_for_console
from tests.lab.host import Host, Lab
from tests.lab.image import build_image
from tests.lab.namespaces import LabError
from tests.lab.packages import LAB_PACKAGES, PackagesMissingError, ensure_packages

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "tests/.cache"
GUEST = "demo-guest"
AGENT_PACKAGES = ("python3-libvirt", "python3-lxml", "python3-requests")

MONITOR_MEANS = {99: "UNKNOWN", 100: "OFFLINE", 200: "INTENTIONAL OFFLINE"} | {
    100 + tens: f"ONLINE, confidence {tens * 10}" for tens in range(1, 11)
}

Runner = Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]


class Step(NamedTuple):
    """One thing that happens: ``verb`` is an entry point, or ``event`` what an outsider does."""

    verb: str = ""
    expected: int = 0
    event: str = ""
    act: Callable[[], object] = bool


def main() -> int:
    """Run the demonstration; 0 when every step was as it should be."""
    parser = argparse.ArgumentParser(
        prog="bin/demo", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--guest", help="monitor and explain this guest of the existing libvirt")
    name = parser.parse_args().guest
    if name:
        code = _entry_point("monitor", name, _run_here, debug_level=2)
        _entry_point("close", name, _run_here)
        return 1 if code == 99 else 0
    try:
        log = Path("/tmp/kvmguest-demo-packages.log")
        if installed := ensure_packages((*LAB_PACKAGES, *AGENT_PACKAGES), log):
            print(f"installed: {' '.join(installed)}")
        CACHE.mkdir(exist_ok=True)
        image = build_image(CACHE)
        with Lab() as lab:
            host = lab.host("demo")
            console = lab.shared / "console.log"
            host.define(obedient(GUEST, image, console))
            print(f"A private libvirtd, and in it the guest {GUEST}, defined and shut off.\n")
            return _play(host, console)
    except (LabError, PackagesMissingError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _play(host: Host, console: Path) -> int:
    """What VCS does, and what happens in between; the number of wrong answers decides."""
    steps = (
        Step("open"),
        Step("monitor", 100),
        Step("online", 5),
        Step("monitor", 110),
        Step(event="the guest boots", act=lambda: wait_for_console(console, READY)),
        Step(event="an administrator: virsh suspend", act=lambda: host.virsh("suspend", GUEST)),
        Step("monitor", 200),
        Step(event="an administrator: virsh resume", act=lambda: host.virsh("resume", GUEST)),
        Step("monitor", 110),
        Step("offline"),
        Step("monitor", 100),
        Step("online", 5),
        Step("monitor", 110),
        Step(event="an accident: kill -9 of the guest's QEMU", act=lambda: host.kill_qemu(GUEST)),
        Step(event="libvirt notices", act=lambda: host.wait_for_state(GUEST, "shut off (crashed)")),
        Step("monitor", 100),
        Step("clean"),
        Step("monitor", 100),
        Step("close"),
    )
    wrong = 0
    for step in steps:
        if step.event:
            print(f"  -- {step.event}\n")
            step.act()
        elif _entry_point(step.verb, GUEST, host.run) != step.expected:
            print(f"  WRONG: {step.expected} was expected\n")
            wrong += 1
    print(f"{wrong} of {sum(bool(s.verb) for s in steps)} steps were not as they should be.")
    return 1 if wrong else 0


def _entry_point(verb: str, guest: str, run: Runner, *, debug_level: int = 1) -> int:
    """Run one entry point as VCS would; print the command, the answer, its meaning and the time."""
    reason = ["4"] if verb == "clean" else []
    tuples = ["GuestName", "1", guest, "DelayAfterGuestOnline", "1", "5"]
    tuples += ["DelayAfterGuestOffline", "1", "30", "AEPTimeout", "1", "60"]
    command = [str(ROOT / "bin" / verb), "kvmguest_demo", *reason, *tuples]
    start = time.monotonic()
    done = run(command, {"KVMGUEST_DEBUG": str(debug_level)})
    seconds = time.monotonic() - start
    print(f"$ {os.path.relpath(command[0], ROOT)} {' '.join(command[1:])}")
    for line in done.stderr.splitlines():
        print(f"    {line}")
    print(f"  exit {done.returncode}: {_meaning(verb, done.returncode)}   ({seconds:.2f} s)\n")
    return done.returncode


def _meaning(verb: str, code: int) -> str:
    if verb == "monitor":
        return MONITOR_MEANS.get(code, "no monitor answer")
    if verb == "online" and code:
        return f"done; VCS waits {code} s before it monitors"
    if verb == "clean":
        return "verified: it does not run here" if code == 0 else "not cleaned"
    return "done" if code == 0 else "failed"


def _run_here(command: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, **env}, text=True, capture_output=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
