"""Logins that fail: how often the password is sent, also where nothing about it can be kept."""

from __future__ import annotations

import socket
import time

from tests.contract.rhev_agent import (
    CIPHER,
    SECRET,
    RhevAgent,
    assert_unknown,
    fixtures,
    watching_node,
)

agent, one_agent = fixtures(watching_node)


def failures(agent: RhevAgent) -> int:
    return agent.manager.user("admin@internal").failures


def test_an_online_that_can_keep_nothing_sends_a_wrong_password_once(agent: RhevAgent) -> None:
    """It looks again and again for as long as RHEV-M gives no word."""
    agent.state_dir.mkdir(mode=0o700)
    agent.state_dir.chmod(0o770)
    agent.home.answer("decrypt", "not-" + SECRET)
    done = agent.run("online", limit_s=12)
    assert failures(agent) == 1
    assert "every call sends it again, and the account may be locked" in done.text
    agent.home.answer("decrypt", SECRET)
    assert agent.monitor().code == 110


def test_two_ciphers_of_a_wrong_password_back_off_each(one_agent: RhevAgent) -> None:
    one_agent.home.answer("decrypt", "not-" + SECRET)
    for _ in range(3):
        for cipher in (CIPHER, CIPHER + "x"):
            one_agent.info["Password"] = cipher
            assert one_agent.monitor().code == 99
    assert failures(one_agent) == 2
    one_agent.home.answer("decrypt", SECRET)
    one_agent.run("attr_changed")  # lets both be tried again
    assert one_agent.monitor().code == 110
    assert list(one_agent.state_dir.glob("rhev.refused.*")) == []


def test_a_refusal_that_comes_too_late_is_counted_too(agent: RhevAgent) -> None:
    """The engine has judged the password; nobody heard it. One more try is free."""
    agent.home.answer("decrypt", "not-" + SECRET)
    judge = "/sso/" if agent.manager.world.profile.has_sso else "/api"
    with agent.manager.fault("stuck", path=judge):
        for _ in range(4):
            done = agent.run("monitor", limit_s=4)
            assert done.code == 99
    assert failures(agent) == 2
    done = agent.fresh_monitor()
    assert_unknown(done, "did not answer the last login", "lest the account be locked")
    assert failures(agent) == 2


def test_a_login_whose_process_was_killed_is_counted_too(one_agent: RhevAgent) -> None:
    """As VCS does at MonitorTimeout."""
    with one_agent.manager.fault("stuck", path="/sso/"):
        for logins in (1, 2):
            process = one_agent.start("monitor")
            end = time.monotonic() + 10
            while one_agent.manager.logins < logins and time.monotonic() < end:
                time.sleep(0.05)
            process.kill()
            process.communicate()
    assert_unknown(one_agent.monitor(), "did not answer the last login")
    assert one_agent.manager.logins == 2


def test_a_login_that_was_too_slow_once_is_tried_again(agent: RhevAgent) -> None:
    with agent.manager.fault("stuck", times=1):
        assert agent.run("monitor", limit_s=4).code == 99
    assert agent.monitor().code == 110
    assert list(agent.state_dir.glob("rhev.refused.*")) == []


def test_an_engine_that_does_not_listen_has_judged_nothing(one_agent: RhevAgent) -> None:
    """The connection is not made, so the password was not sent."""
    url = one_agent.info["URL"]
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        one_agent.info["URL"] = f"https://127.0.0.1:{mute.getsockname()[1]}"
        for _ in range(3):
            done = one_agent.run("monitor", limit_s=12)
            assert done.code == 99
        assert list(one_agent.state_dir.glob("rhev.refused.*")) == []
    one_agent.info["URL"] = url
    assert one_agent.monitor().code == 110


def test_a_token_that_the_api_does_not_take_yet_is_no_refusal(one_agent: RhevAgent) -> None:
    """An engine that restarts: its token service is up before the API is."""
    with one_agent.manager.fault("401", path="/ovirt-engine/api"):
        assert_unknown(one_agent.monitor(), "does not accept the token that it has just given")
    assert one_agent.monitor().code == 110
