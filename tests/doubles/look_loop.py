"""Runs on a host: looks at a guest as monitor does, again and again, until its input ends.

Arguments: the project's directory, the guest, seconds between looks, site options. One line for
each look: its start and end (time.monotonic, which all hosts of one machine share), monitor's exit
code and the sentence. Every look makes a connection of its own, as every monitor does.
"""

from __future__ import annotations

import os
import sys
import threading
import time

sys.path.insert(0, sys.argv[1])

from kvmguest import arglist, lifecycle, options, vcs
from kvmguest.deadline import Deadline
from kvmguest.log import Log
from kvmguest.virsh import Virsh

LIMIT_S = 4
GUEST, EVERY_S = sys.argv[2], float(sys.argv[3])
ended = threading.Event()


def wait_for_the_end() -> None:
    sys.stdin.read()
    ended.set()


threading.Thread(target=wait_for_the_end, daemon=True).start()
site = options.load({"KVMGUEST_CONF": sys.argv[4]})
config = arglist.parse("res", ["GuestName", "1", GUEST])
log = Log("res", "monitor", {}, sys.argv[0])
while not ended.is_set():
    start = time.monotonic()
    deadline = Deadline(LIMIT_S)
    backend = Virsh(config, site, deadline, log, {}, is_read_only=True)
    verdict = lifecycle.monitor(lifecycle.Run(config, backend, deadline, log))
    end = time.monotonic()
    print(start, end, vcs.monitor_exit(verdict), verdict.sentence, flush=True)
    ended.wait(max(0.0, start + EVERY_S - end))
os._exit(0)  # a thread may hang in a frozen libvirtd
