"""The power switch of the pair: outside of both nodes, the only way to be sure a node is off."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Callable, NamedTuple

from tests.lab.host import Host

#: A machine takes its time to boot. If it took less than corosync takes to call it lost (token and
#: consensus, 6.6 s here), it would be back before its fencing is announced, and leave for good.
BOOT_S = 8


class Press(NamedTuple):
    """One press of a button: when (time.monotonic), what ("reboot", "off", "on"), which node."""

    at: float
    action: str
    node: str


class PowerSwitch:
    """Serves "<action> <node>" lines on a unix socket; answers "ok", "on", "off" or names.

    Attributes:
        fencings: what came over the socket and cut power, not what press() was called for.

    A reboot is answered as soon as the node is off, as its guests are dead then; it comes up
    afterwards. Presses of one node wait for each other.
    """

    def __init__(self, path: Path, nodes: Mapping[str, Host], boot: Callable[[Host], None]) -> None:
        """Start serving.

        Args:
            path: of the socket.
            nodes: the hosts by name.
            boot: switches a host on and starts its cluster daemons.
        """
        self.fencings: list[Press] = []
        self._nodes = nodes
        self._boot = boot
        self._locks = {name: threading.Lock() for name in nodes}
        self._is_off = dict.fromkeys(nodes, False)
        self._booting: list[threading.Thread] = []
        self._is_closed = False
        switch = self

        class Request(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                action, _, node = self.rfile.readline().decode().strip().partition(" ")
                if action in {"reboot", "off"}:
                    switch.fencings.append(Press(time.monotonic(), action, node))
                self.wfile.write(f"{switch.press(action, node)}\n".encode())

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Request)
        self._server.daemon_threads = True
        self._serving = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._serving.start()

    def press(self, action: str, node: str) -> str:
        """Do what the fence agent, or a fault, asks for; return the answer."""
        if action in {"monitor", "validate-all"}:
            return "ok"
        if action == "list":
            return " ".join(self._nodes)
        if node not in self._nodes or self._is_closed:
            return "error"
        if action == "status":
            return "off" if self._is_off[node] else "on"
        if action not in {"reboot", "off", "on"}:
            return "error"
        if action != "on":
            with self._locks[node]:
                self._nodes[node].power_off()
                self._is_off[node] = True
        if action != "off":
            thread = threading.Thread(target=self._switch_on, args=(node, action), daemon=True)
            self._booting.append(thread)
            thread.start()
        return "ok"

    def wait(self) -> None:
        """Wait until every node that is to come up has done so."""
        while self._booting:
            self._booting.pop().join()

    def close(self) -> None:
        """Stop serving; first of all when the pair ends, or it would boot a node again."""
        self._is_closed = True
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()
        self.wait()

    def _switch_on(self, node: str, action: str) -> None:
        if action == "reboot":
            time.sleep(BOOT_S)
        with self._locks[node]:
            if self._is_off[node] and not self._is_closed:
                self._boot(self._nodes[node])
                self._is_off[node] = False
