"""Argument list in, exit code out: every verb in every state that libvirt's test driver has."""

from __future__ import annotations

import pytest

from tests.contract.conftest import GUEST, STATES, Agent

TUPLES = ["GuestName", "1", GUEST, "DelayAfterGuestOnline", "1", "7"]
TUPLES += ["DelayAfterGuestOffline", "1", "2", "AEPTimeout", "1", "20"]

# (verb, state): (exit code, beginning of the last line in the log)
GOLDEN = {
    ("monitor", "running"): (110, "I {GUEST}: libvirt: running (unknown): ONLINE, confidence 100"),
    ("monitor", "idle"): (110, "I {GUEST}: libvirt: idle (unknown): ONLINE, confidence 100"),
    ("monitor", "paused"): (102, "I {GUEST}: libvirt: paused (unknown): ONLINE, confidence 20"),
    ("monitor", "shut off"): (100, "I {GUEST}: libvirt: shut off (unknown): OFFLINE"),
    ("monitor", "crashed"): (
        100,
        "W {GUEST}: libvirt: crashed (unknown): OFFLINE; the guest panicked",
    ),
    ("monitor", "pmsuspended"): (
        200,
        "I {GUEST}: libvirt: pmsuspended (unknown): INTENTIONAL OFFLINE",
    ),
    ("online", "running"): (
        0,
        "I {GUEST}: libvirt: running (unknown): ONLINE, confidence 100. It runs",
    ),
    ("online", "paused"): (
        0,
        "E {GUEST}: libvirt: paused (unknown): ONLINE, confidence 20. Not started",
    ),
    ("online", "shut off"): (7, "I start done; {GUEST}: libvirt: running (booted)"),
    ("online", "crashed"): (
        0,
        "E {GUEST}: libvirt: crashed (unknown): OFFLINE; the guest panicked",
    ),
    ("offline", "running"): (0, "I shut down; {GUEST}: libvirt: shut off (shutdown): OFFLINE"),
    ("offline", "paused"): (0, "I shut down; {GUEST}: libvirt: shut off (shutdown): OFFLINE"),
    ("offline", "shut off"): (
        0,
        "I {GUEST}: libvirt: shut off (unknown): OFFLINE. It does not run",
    ),
    ("offline", "crashed"): (0, "I destroyed; {GUEST}: libvirt: shut off (destroyed): OFFLINE"),
    ("clean", "running"): (0, "I destroyed; {GUEST}: libvirt: shut off (destroyed): OFFLINE"),
    ("clean", "paused"): (0, "I destroyed; {GUEST}: libvirt: shut off (destroyed): OFFLINE"),
    ("clean", "shut off"): (0, "I {GUEST}: libvirt: shut off (unknown): OFFLINE. It does not run"),
    ("clean", "crashed"): (0, "I destroyed; {GUEST}: libvirt: shut off (destroyed): OFFLINE"),
    ("clean", "pmsuspended"): (0, "I destroyed; {GUEST}: libvirt: shut off (destroyed): OFFLINE"),
    ("migrate", "shut off"): (255, "E not migrated to node2: {GUEST}: libvirt: shut off (unknown)"),
    ("migrate", "paused"): (255, "E not migrated to node2: {GUEST}: libvirt: paused (unknown)"),
}


@pytest.mark.parametrize(("verb", "state"), GOLDEN)
def test_verb_and_state(agent: Agent, verb: str, state: str) -> None:
    agent.guests({GUEST: state, f"{GUEST}1": "running", GUEST[:-1]: "running"})
    reason = {"clean": ["4"], "migrate": []}.get(verb, [])
    extra = ["VCSInfo", "2", "TargetHost", "node2"] if verb == "migrate" else []
    done = agent.run(verb, "res", *reason, *TUPLES, *extra)
    code, line = GOLDEN[verb, state]
    message = agent.home.messages()[-1]
    assert f"{message.severity} {message.text}".startswith(line.format(GUEST=GUEST))
    assert (done.code, done.out, done.err) == (code, "", "")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", ["open", "close"])
def test_open_and_close_are_harmless(agent: Agent, verb: str, state: str) -> None:
    agent.guests({GUEST: state})
    done = agent.run(verb, "res", *TUPLES)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert agent.home.messages() == []


def test_a_guest_that_is_not_defined(agent: Agent) -> None:
    agent.guests({f"{GUEST}1": "running"})
    assert agent.run("monitor", "res", *TUPLES).code == 100
    assert agent.run("clean", "res", "4", *TUPLES).code == 0
    assert agent.run("offline", "res", *TUPLES).code == 0
    assert agent.run("online", "res", *TUPLES).code == 0
    assert "define it, or set GuestConfigFilePath" in agent.home.texts()[-1]


@pytest.mark.parametrize("reason", ["0", "1", "2", "3", "4", "5"])
def test_every_clean_reason_is_named(agent: Agent, reason: str) -> None:
    assert agent.run("clean", "res", reason, *TUPLES).code == 0
    called = agent.home.texts()[0]
    assert called.startswith("clean is called: ")
    assert "no reason is given" not in called


@pytest.mark.parametrize(("delay", "code"), [("0", 0), ("255", 255), ("256", 255)])
def test_online_waits_itself_for_what_the_exit_value_cannot_say(
    agent: Agent, delay: str, code: int
) -> None:
    agent.guests({GUEST: "shut off"})
    words = ["GuestName", "1", GUEST, "DelayAfterGuestOnline", "1", delay]
    done = agent.run("online", "res", *words)
    assert done.code == code
    assert done.seconds >= max(0, int(delay) - 255)


def test_attr_changed_and_close_forget_what_was_logged(agent: Agent) -> None:
    for verb in ("attr_changed", "close"):
        agent.run("monitor", "res", *TUPLES)
        assert list(agent.state_dir.iterdir())
        words = ["res", "GuestName", "db"] if verb == "attr_changed" else TUPLES
        assert agent.run(verb, "res", *words).code == 0
        assert list(agent.state_dir.iterdir()) == []


def test_open_says_what_is_accepted_but_not_done(agent: Agent) -> None:
    words = ["GuestName", "1", GUEST, "CEInfo", "2", "Enabled", "1"]
    assert agent.run("open", "res", *words).code == 0
    (message,) = agent.home.messages()
    assert message.severity == "W"
    assert "CEInfo.Enabled is 1" in message.text


@pytest.mark.parametrize("verb", ["monitor", "online", "offline", "clean", "open", "close"])
def test_the_positional_layout(agent: Agent, verb: str) -> None:
    words = [GUEST, "7", "2", "", "", "0", "0", "0", "0"]
    reason = ["4"] if verb == "clean" else []
    assert agent.run(verb, "res", *reason, *words).code == (110 if verb == "monitor" else 0)


GUEST_NAMES = ["my guest", "web.1", "we*", "a,b", "wéb", "-h", "$(id)", "SyncDir", "AEPTimeout"]


@pytest.mark.parametrize("name", GUEST_NAMES)
def test_odd_guest_names(agent: Agent, name: str) -> None:
    agent.guests({name: "running", GUEST: "shut off"})
    words = ["SyncDir", "1", "/tmp", "GuestName", "1", name, "AEPTimeout", "1", "20"]
    assert agent.run("monitor", "res", *words).code == 110
    assert agent.home.texts() == [f"{name}: libvirt: running (unknown): ONLINE, confidence 100"]
    agent.guests({f"{name}x": "running"})
    assert agent.run("monitor", "res", *words).code == 100
