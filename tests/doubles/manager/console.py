"""One line of text is one order to a Manager: for a shell, and for tests in another process.

vm g1 up h1                set (or add) a VM, its status and host
vm g1 boot_s=3 boots=false   any field of model.Vm
host h1 | host h1 status=maintenance | host h1 die | cut_off | recover
user joe@internal password UserRole
fault drip /vms times=2 method=GET pause_s=1 | mend
advance 60 | stop | start | restart 20 10 | forget (the sessions) | count (from here)
show | requests | logins     answers in JSON
quit
"""

from __future__ import annotations

import json
import shlex
from typing import Any, Callable

from tests.doubles.manager.control import Manager
from tests.doubles.manager.model import Host, Vm

_VERBS_OF_HOST = frozenset({"die", "cut_off", "recover"})
_WORDS: dict[str, Any] = {"true": True, "false": False}


class NoSuchOrderError(ValueError):
    """The line means nothing."""


def obey(manager: Manager, line: str) -> str:
    """Do what a line says and answer with one line.

    Raises:
        NoSuchOrderError: unknown word, name or field.
    """
    line = line.strip()
    words = shlex.split(line)
    if not words:
        return "ok"
    order = _ORDERS.get(words[0])
    if order is None:
        raise NoSuchOrderError(line)
    try:
        return order(manager, words[1:]) or "ok"
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise NoSuchOrderError(f"{line}: {error}") from None


def _fields(words: list[str]) -> dict[str, Any]:
    return {key: _value(text) for key, _, text in (word.partition("=") for word in words)}


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def _split(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    return [w for w in words if "=" not in w], _fields([w for w in words if "=" in w])


def _assign(thing: Vm | Host, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if not hasattr(thing, name):
            raise ValueError(f"no field {name}")
        setattr(thing, name, value)


def _vm(manager: Manager, words: list[str]) -> str:
    plain, fields = _split(words)
    name, status, host = (*plain, "", "", "")[:3]
    try:
        vm = manager.vm(name)
    except KeyError:
        vm = manager.add_vm(name, cluster=fields.pop("cluster", "c1"))
    if status:
        manager.put(name, status, host)
    _assign(vm, fields)
    return ""


def _host(manager: Manager, words: list[str]) -> str:
    plain, fields = _split(words)
    try:
        host = manager.host(plain[0])
    except KeyError:
        host = manager.add_host(plain[0], cluster=fields.pop("cluster", "c1"))
    _assign(host, fields)
    for verb in plain[1:]:
        if verb not in _VERBS_OF_HOST:
            raise ValueError(verb)
        getattr(host, verb)()
    return ""


def _user(manager: Manager, words: list[str]) -> str:
    name, password, role = words
    manager.add_user(name, password, role)
    return ""


def _fault(manager: Manager, words: list[str]) -> str:
    plain, fields = _split(words)
    manager.fault(plain[0], *plain[1:2], **fields)
    return ""


def _restart(manager: Manager, words: list[str]) -> str:
    manager.restart_engine(*(float(word) for word in words))
    return ""


def _show(manager: Manager, _: list[str]) -> str:
    manager.settle()
    world = manager.world
    return json.dumps(
        {
            "vms": {v.name: [v.status, v.host and v.host.name] for v in world.vms.values()},
            "hosts": {h.name: h.status for h in world.hosts.values()},
            "split_brains": world.split_brains,
        }
    )


def _requests(manager: Manager, _: list[str]) -> str:
    return json.dumps([[record.line, record.status, record.login] for record in manager.requests])


_ORDERS: dict[str, Callable[[Manager, list[str]], str | None]] = {
    "vm": _vm,
    "host": _host,
    "user": _user,
    "fault": _fault,
    "restart": _restart,
    "show": _show,
    "requests": _requests,
    "mend": lambda manager, _: manager.faults.clear(),
    "advance": lambda manager, words: manager.advance(float(words[0])),
    "stop": lambda manager, _: manager.stop_engine(),
    "start": lambda manager, _: manager.start_engine(),
    "forget": lambda manager, _: manager.forget_sessions(),
    "count": lambda manager, _: manager.forget_requests(),
    "logins": lambda manager, _: str(manager.logins),
}
