"""What a monitor costs, beside virsh domstate and Pacemaker's VirtualDomain.

    python3 -m tests.bench.kvm [--rounds N] [--waves N]      as root, with the system's own Python

All are measured in one run, in turn, inside one laboratory host, on one running guest. Seconds
depend on the machine and its load; the ratios are what counts. Ends with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from tests.lab.guest import bare
from tests.lab.host import Host, Lab
from tests.lab.packages import LAB_PACKAGES, ensure_packages

ROOT = Path(__file__).resolve().parent.parent.parent
GUEST = "bench"
AT_ONCE = 50
MAX_RATIO_TO_VIRSH = 3.0
MAX_MIB = 40.0

MONITOR = "bin/monitor"
VIRSH = "virsh domstate"
PEER = "VirtualDomain"
ARGUMENTS = ["bench", "GuestName", "1", GUEST, "AEPTimeout", "1", "60"]


def commands(interpreter: list[str]) -> dict[str, dict[str, Any]]:
    """What is measured; ``codes`` are the exit codes that mean that the guest runs."""
    off = {
        f"OCF_RESKEY_autoset_utilization_{what}": "false"
        for what in ("cpu", "host_memory", "hv_memory")
    }
    peer = {
        "OCF_ROOT": "/usr/lib/ocf",
        "OCF_RESOURCE_INSTANCE": GUEST,
        "OCF_RESOURCE_TYPE": "VirtualDomain",
        "OCF_RESKEY_config": f"/etc/libvirt/qemu/{GUEST}.xml",
        "OCF_RESKEY_hypervisor": "qemu:///system",
        "OCF_RESKEY_CRM_meta_interval": "60000",
        "OCF_RESKEY_CRM_meta_timeout": "30000",
        **off,
    }
    script = "/usr/lib/ocf/resource.d/heartbeat/VirtualDomain"
    plain: dict[str, str] = {}
    return {
        MONITOR: {"argv": [str(ROOT / "bin/monitor"), *ARGUMENTS], "env": plain, "codes": [110]},
        VIRSH: {
            "argv": ["virsh", "-c", "qemu:///system", "domstate", GUEST],
            "env": plain,
            "codes": [0],
        },
        PEER: {"argv": [script, "monitor"], "env": peer, "codes": [0]},
        "(interpreter alone)": {
            "argv": [*interpreter, "-c", "pass"],
            "env": plain,
            "codes": [0],
        },
        "(and import libvirt)": {
            "argv": [interpreter[0], "-I", "-c", "import libvirt"],
            "env": plain,
            "codes": [0],
        },
    }


def measure(host: Host, rounds: int, waves: int) -> dict[str, Any]:
    """Samples by name, from tests/bench/measure.py run inside the host."""
    host.define(bare(GUEST))
    host.virsh("start", GUEST)
    host.run(["mkdir", "-p", "/run/resource-agents", "/var/lib/kvmguest"])
    host.run(["chmod", "700", "/var/lib/kvmguest"])
    task = {
        "commands": commands(_interpreter()),
        "rounds": rounds,
        "waves": waves,
        "at_once": AT_ONCE,
    }
    script = ["/usr/bin/python3", "-I", str(Path(__file__).with_name("measure.py"))]
    done = host.run(script, timeout=1800, stdin=json.dumps(task))
    if done.returncode != 0:
        sys.exit(f"the measurement failed: {done.stderr}")
    samples: dict[str, Any] = json.loads(done.stdout)
    return samples


def _interpreter() -> list[str]:
    """The interpreter and its options, from the first line of bin/monitor."""
    return (ROOT / "bin/monitor").read_text().partition("\n")[0].removeprefix("#!").split()


def report(samples: dict[str, Any]) -> bool:
    """Print medians and ratios; say whether every target is reached."""
    rows = {}
    for name, runs in samples["alone"].items():
        wall, cpu, memory = (statistics.median(column) for column in zip(*runs))
        many, many_cpu = (statistics.median(column) for column in zip(*samples["at_once"][name]))
        rows[name] = (wall * 1000, cpu * 1000, memory / 1024, many, many_cpu)
    rounds = len(samples["alone"][MONITOR])
    print(f"medians of {rounds} runs each, and of {len(samples['at_once'][MONITOR])} waves")
    print(f"{'':22}{'wall ms':>9}{'CPU ms':>9}{'peak MiB':>10}", end="")
    print(f"{f'{AT_ONCE} at once s':>15}{'their CPU s':>13}")
    for name, row in rows.items():
        print("{:22}{:9.1f}{:9.1f}{:10.1f}{:15.2f}{:13.2f}".format(name, *row))
    ours, virsh, peer = rows[MONITOR], rows[VIRSH], rows[PEER]
    to_virsh = [a / b for a, b in zip(ours, virsh)]
    to_peer = [a / b for a, b in zip(ours, peer)]
    print("{:22}{:8.2f}x{:8.2f}x{:9.2f}x{:14.2f}x{:12.2f}x".format("to virsh", *to_virsh))
    print("{:22}{:8.2f}x{:8.2f}x{:9.2f}x{:14.2f}x{:12.2f}x".format("to VirtualDomain", *to_peer))
    targets = {
        f"wall at most {MAX_RATIO_TO_VIRSH} x virsh domstate": to_virsh[0] <= MAX_RATIO_TO_VIRSH,
        "wall below VirtualDomain": to_peer[0] < 1,
        f"peak memory below {MAX_MIB:.0f} MiB": ours[2] < MAX_MIB,
    }
    for target, is_reached in targets.items():
        print(f"{'reached' if is_reached else 'MISSED '} {target}")
    return all(targets.values())


def imports(host: Host) -> None:
    """Print what bin/monitor spends on imports, in microseconds of -X importtime."""
    program, *options = _interpreter()
    argv = [program, *options, "-X", "importtime", str(ROOT / "bin/monitor"), *ARGUMENTS]
    modules = []
    for line in host.run(argv).stderr.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        total, _, name = rest.partition("|")
        if own.strip().isdigit():
            modules.append((int(own), int(total), name))
    print(f"imports of a monitor: {len(modules)} modules; those that cost most, own (with theirs):")
    for us, total_us, module in sorted(modules, reverse=True)[:14]:
        print(f"  {us / 1000:7.1f} ms ({total_us / 1000:6.1f})  {module.strip()}")


def main() -> None:
    """Build the host, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--waves", type=int, default=3)
    options = parser.parse_args()
    ensure_packages([*LAB_PACKAGES, "resource-agents"], Path("/tmp/kvmguest-bench-packages.log"))
    with Lab() as lab:
        host = lab.host("kvm1")
        samples = measure(host, options.rounds, options.waves)
        is_reached = report(samples)
        imports(host)
    sys.exit(0 if is_reached else 1)


if __name__ == "__main__":
    main()
