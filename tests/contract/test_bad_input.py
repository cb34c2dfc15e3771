"""Point by point: bad input is ONE message that names every complaint, and a harmless exit code."""

from __future__ import annotations

import random

import pytest

from tests.contract.conftest import GUEST, Agent

FAILED = {"monitor": 99, "clean": 1, "online": 0, "offline": 0, "open": 0, "migrate": 255}
WEB = ["GuestName", "1", GUEST]

BAD: dict[str, tuple[list[str | bytes], list[str]]] = {
    "count is no number": (["GuestName", "x", "web"], ["GuestName: no number of values follows"]),
    "list cut short": ([*WEB, "CEInfo", "6", "Enabled", "0"], ["CEInfo: the list is cut short"]),
    "name cut off": (["GuestName"], ["GuestName: no number of values follows"]),
    "delay is no number": ([*WEB, "DelayAfterGuestOffline", "1", "3s"], ["'3s'"]),
    "empty name": (["GuestName", "1", ""], ["GuestName is empty"]),
    "no name": (["AEPTimeout", "1", "60"], ["GuestName is empty"]),
    "no tuples": ([], ["GuestName is empty"]),
    "slash": (["GuestName", "1", "a/b"], ["GuestName 'a/b'"]),
    "newline": (["GuestName", "1", "a\nb"], ["GuestName 'a\\nb'"]),
    "256 characters": (["GuestName", "1", "x" * 256], ["longer than 255"]),
    "bytes that are no text": (["GuestName", "1", b"\xff"], ["GuestName '\\udcff'"]),
    "everything": (
        [
            *("GuestName", "1", "a/b"),
            *("DelayAfterGuestOnline", "1", "-1"),
            *("DelayAfterGuestOffline", "1", "soon"),
            *("SyncDir", "1", "here"),
            *("ResyncVMCfg", "1", "2"),
            *("CEInfo", "3", "Enabled", "maybe", "CESystem"),
            *("RHEVMInfo", "2", "Enabled", "yes"),
            *("AEPTimeout", "1", "0"),
            *("GuestConfigFilePath", "two", "/x"),
        ],
        [
            *("GuestName 'a/b'", "DelayAfterGuestOnline", "DelayAfterGuestOffline", "SyncDir"),
            *("ResyncVMCfg", "CEInfo.Enabled", "CESystem", "RHEVMInfo.Enabled", "AEPTimeout"),
            "GuestConfigFilePath: no number of values follows",
        ],
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_one_message_names_every_complaint(agent: Agent, what: str) -> None:
    words, complaints = BAD[what]
    done = agent.run("monitor", "res", *words)
    assert (done.code, done.out, done.err) == (99, "", "")
    (message,) = agent.home.messages()
    assert message.severity == "E"
    assert [text for text in complaints if text not in message.text] == []


@pytest.mark.parametrize("verb", FAILED)
def test_no_verb_does_anything_with_bad_input(agent: Agent, verb: str) -> None:
    words = [*WEB, "SyncDir", "1", "relative", "AEPTimeout", "1", "x"]
    done = agent.run(verb, "res", *(["4"] if verb == "clean" else []), *words)
    assert (done.code, done.out, done.err) == (FAILED[verb], "", "")
    (message,) = agent.home.messages()
    assert message.text == (
        "bad configuration: SyncDir is 'relative': it must be an absolute path;"
        " AEPTimeout is 'x': it must be a number of seconds"
    )


@pytest.mark.parametrize("verb", FAILED)
def test_no_arguments_at_all(agent: Agent, verb: str) -> None:
    done = agent.run(verb)
    assert (done.code, done.out, done.err) == (FAILED[verb], "", "")
    assert "the resource name is empty" in agent.home.texts()[0]


def test_bad_site_options_are_named_together_with_bad_attributes(agent: Agent) -> None:
    agent.configure(more="colour = blue\n[libvrt]\nx = y\n")
    done = agent.run("monitor", "res", "GuestName", "1", "a/b")
    assert done.code == 99
    (text,) = agent.home.texts()
    assert "GuestName 'a/b'" in text
    assert "[vcs] colour is not an option" in text
    assert "[libvrt] x is not an option" in text


def test_a_bad_configuration_is_not_logged_each_minute(agent: Agent) -> None:
    for _minute in range(3):
        assert agent.run("monitor", "res", "GuestName", "1", "a/b").code == 99
    assert len(agent.home.messages()) == 1


@pytest.mark.parametrize("seed", range(5))
def test_order_does_not_matter(agent: Agent, seed: int) -> None:
    tuples = [
        WEB,
        ["DelayAfterGuestOnline", "1", "5"],
        ["SyncDir", "1", ""],
        ["CEInfo", "6", "FaultOnHBLoss", "1", "CESystem", "NONE", "Enabled", "0"],
        ["DROpts", "2", "DNSServers", "10.0.0.1 10.0.0.2"],
        ["Novelty", "2", "GuestName", "SyncDir"],
        ["AEPTimeout", "1", "20"],
    ]
    random.Random(seed).shuffle(tuples)  # noqa: S311 - an order, not a secret
    assert agent.run("monitor", "res", *(word for words in tuples for word in words)).code == 110
