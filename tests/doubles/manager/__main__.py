"""The double on a port, for a shell: `python3 -m tests.doubles.manager --profile 4.4 --port 0`.

Prints its URL, CA file and user, then obeys lines on standard input (see console) until `quit`. At
the end of the input it goes on serving until it is interrupted, unless --until-eof is given.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from tests.doubles.manager.console import NoSuchOrderError, obey
from tests.doubles.manager.control import Manager
from tests.doubles.manager.pki import VARIANTS
from tests.doubles.manager.profiles import PROFILES


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.doubles.manager")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="4.4")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="engine seconds per second")
    parser.add_argument("--certificate", choices=VARIANTS, default="valid")
    parser.add_argument("--user", default="admin@internal")
    parser.add_argument("--password", default="secret")
    parser.add_argument("--no-basic", action="store_true", help="as behind Keycloak")
    parser.add_argument("--host", action="append", default=[], metavar="NAME")
    parser.add_argument("--vm", action="append", default=[], metavar="NAME[:STATUS[:HOST]]")
    parser.add_argument("--until-eof", action="store_true", help="end with standard input")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    manager = Manager(
        arguments.profile,
        hosts=arguments.host,
        scale=arguments.scale,
        certificate=arguments.certificate,
        user=arguments.user,
        password=arguments.password,
        basic=not arguments.no_basic,
        port=arguments.port,
    )
    for vm in arguments.vm:
        manager.add_vm(*vm.split(":"))
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, lambda *_: over.set())
    with manager:
        print(f"url {manager.url}")
        print(f"ca {manager.ca_file}")
        print(f"user {arguments.user}", flush=True)
        reader = threading.Thread(
            target=_read, args=(manager, over, arguments.until_eof), daemon=True
        )
        reader.start()
        over.wait()
    return 0


def _read(manager: Manager, over: threading.Event, until_eof: bool) -> None:
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        try:
            print(obey(manager, line), flush=True)
        except NoSuchOrderError as error:
            print(f"what? {error}", flush=True)
    else:
        if not until_eof:
            return
    over.set()


if __name__ == "__main__":
    raise SystemExit(main())
