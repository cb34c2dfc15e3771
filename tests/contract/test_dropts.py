"""A wrong DROpts stops online, is told by open, and disturbs nothing else."""

from __future__ import annotations

import pytest

from tests.contract.conftest import GUEST, Agent

WRONG = [
    "DROpts",
    "8",
    "ConfigureNetwork",
    "1",
    "IPAddress",
    "10.20.0.256",
    "Netmask",
    "255.0.255.0",
]
WRONG += ["DNSServer", "10.20.0.2"]
COMPLAINTS = ("IPAddress is '10.20.0.256'", "Netmask is '255.0.255.0'", "unknown key 'DNSServer'")


def run(agent: Agent, verb: str, *words: str) -> int:
    reason = ["4"] if verb == "clean" else []
    tuples = ["GuestName", "1", GUEST, *words, "DelayAfterGuestOnline", "1", "7"]
    return agent.run(verb, "res", *reason, *tuples, "AEPTimeout", "1", "20").code


def errors(agent: Agent) -> list[str]:
    return [message.text for message in agent.home.messages() if message.severity == "E"]


@pytest.mark.parametrize("verb", ["online", "open"])
def test_every_complaint_is_in_one_error(agent: Agent, verb: str) -> None:
    agent.guests({GUEST: "shut off"})
    assert run(agent, verb, *WRONG) == 0
    (error,) = errors(agent)
    for complaint in COMPLAINTS:
        assert complaint in error
    if verb == "online":
        assert f"{GUEST}: start failed: " in error
        assert error.endswith("libvirt: shut off (unknown): OFFLINE")


@pytest.mark.parametrize(
    ("verb", "state", "code"),
    [
        ("monitor", "running", 110),
        ("monitor", "shut off", 100),
        ("online", "running", 0),
        ("offline", "running", 0),
        ("clean", "running", 0),
        ("close", "running", 0),
        ("attr_changed", "running", 0),
    ],
)
def test_whatever_starts_nothing_works(agent: Agent, verb: str, state: str, code: int) -> None:
    agent.guests({GUEST: state})
    assert run(agent, verb, *WRONG) == code
    assert errors(agent) == []


@pytest.mark.parametrize("switch", ["0", "NONE", ""])
def test_the_rest_is_ignored_while_it_is_off(agent: Agent, switch: str) -> None:
    agent.guests({GUEST: "shut off"})
    words = [switch if word == "1" else word for word in WRONG]
    assert run(agent, "online", *words) == 7
    assert run(agent, "open", *words) == 0
    assert errors(agent) == []
