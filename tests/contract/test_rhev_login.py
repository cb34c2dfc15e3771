"""Logins: passwords and their decryption, roles, releases, and the session that is kept."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.contract.rhev_agent import (
    CIPHER,
    SECRET,
    RhevAgent,
    assert_unknown,
    fixtures,
    watching_node,
)
from tests.doubles.manager import Manager

agent, one_agent = fixtures(watching_node)


# Passwords


def test_a_wrong_password_is_tried_once_and_not_again(agent: RhevAgent) -> None:
    agent.home.answer("decrypt", "not-" + SECRET)
    for _ in range(4):
        done = agent.fresh_monitor()
        assert_unknown(done, "correct RHEVMInfo's User and Password")
    assert "lest the account be locked" in done.text
    assert agent.manager.user("admin@internal").failures == 1
    agent.home.answer("decrypt", SECRET)
    agent.info["Password"] = CIPHER + "x"  # the administrator corrects it: tried at once
    assert agent.monitor().code == 110


def test_many_monitors_with_a_wrong_password_try_it_once(agent: RhevAgent) -> None:
    agent.home.answer("decrypt", "not-" + SECRET)
    processes = [agent.start("monitor", limit_s=60) for _ in range(12)]
    codes = [process.wait(40) for process in processes]
    for process in processes:
        process.communicate()
    assert codes == [99] * 12
    assert agent.manager.user("admin@internal").failures == 1


def test_attr_changed_lets_the_password_be_tried_again(one_agent: RhevAgent) -> None:
    one_agent.manager.user("admin@internal").locked = True
    assert_unknown(one_agent.monitor(), "disabled or locked", "unlock the account")
    one_agent.manager.user("admin@internal").locked = False
    assert_unknown(one_agent.fresh_monitor(), "run attr_changed")
    one_agent.run("attr_changed")
    assert one_agent.monitor().code == 110


def test_an_expired_password_and_a_directory_that_is_down(one_agent: RhevAgent) -> None:
    one_agent.manager.accounts.directory_down = True
    assert_unknown(one_agent.monitor(), "See its user directory")
    one_agent.manager.accounts.directory_down = False
    one_agent.manager.user("admin@internal").password_expired = True
    # The directory's outage was not taken for a refusal: this is tried at once.
    assert_unknown(one_agent.monitor(), "set a new password there and in RHEVMInfo.Password")


@pytest.mark.parametrize("role", ["UserVmManager", "UserRole"])
def test_a_user_without_an_administrator_role(agent: RhevAgent, role: str) -> None:
    agent.manager.user("admin@internal").role = role
    assert_unknown(agent.monitor(), "ClusterAdmin")


def test_expired_sessions_cost_one_login(agent: RhevAgent) -> None:
    agent.monitor()
    agent.manager.forget_sessions()
    agent.manager.forget_requests()
    assert agent.monitor().code == 110
    assert agent.manager.logins == 1
    assert agent.monitor().code == 110
    assert agent.manager.logins == 1


def test_keycloak_refuses_basic_but_gives_tokens(tmp_path: Path) -> None:
    with Manager("4.5", hosts=["h1"], vms=["g1"], password=SECRET, basic=False) as manager:
        manager.put("g1", "up", "h1")
        assert RhevAgent(tmp_path, manager).monitor().code == 110


@pytest.mark.parametrize("kind", ["404", "403", "401"])
def test_basic_where_there_is_no_token_service(one_agent: RhevAgent, kind: str) -> None:
    with one_agent.manager.fault(kind, path="/sso/"):
        assert one_agent.monitor().code == 110
        assert one_agent.monitor().code == 110
    assert one_agent.manager.logins == 1
    assert [r.headers.get("prefer") for r in one_agent.manager.requests[-1:]] == ["persistent-auth"]


@pytest.mark.parametrize("profile", ["3.1", "3.3", "4.0", "4.3", "4.5"])
@pytest.mark.parametrize("version", ["auto", "3", "4"])
def test_releases_and_api_version(tmp_path: Path, profile: str, version: str) -> None:
    with Manager(profile, hosts=["h1"], vms=["g1"], password=SECRET) as manager:
        manager.put("g1", "up", "h1")
        agent = RhevAgent(tmp_path, manager)
        agent.options["rhev"]["api_version"] = version
        done = agent.monitor()
        if (profile, version) == ("4.5", "3"):
            assert_unknown(done, "405")
            return
        assert done.code == 110, done.text
        wanted = "3" if profile < "4" or version == "3" else "4"
        assert agent.monitor().code == 110
        assert manager.requests[-1].headers["version"] == wanted


# The session file


def session_file(agent: RhevAgent) -> Path:
    (found,) = agent.state_dir.glob("rhev.session.*")
    return found


@pytest.mark.parametrize(
    "spoil",
    ["", "\0\xff", "{}", "https://other admin@internal auto\n/x\n4\n4\n4\nBearer\nt", "cut"],
)
def test_a_corrupt_session_file_costs_a_login(agent: RhevAgent, spoil: str) -> None:
    agent.monitor()
    file = session_file(agent)
    text = file.read_text()
    file.write_text(text[: len(text) // 2] if spoil == "cut" else spoil)
    assert agent.monitor().code == 110
    assert agent.manager.logins == 2
    assert file.read_text().count("\n") == 6


def test_an_engine_that_was_upgraded(one_agent: RhevAgent) -> None:
    """The kept session is of version 3 below /api, which is no more."""
    one_agent.monitor()
    file = session_file(one_agent)
    key = file.read_text().partition("\n")[0]
    for base, version, kind in (("/api", "3", "Cookie"), ("/ovirt-engine/api", "3", "Bearer")):
        file.write_text(f"{key}\n{base}\n{version}\n3\n6\n{kind}\nold")
        assert one_agent.monitor().code == 110
    assert one_agent.manager.logins == 3


def test_a_header_cannot_be_smuggled_through_the_session_file(agent: RhevAgent) -> None:
    agent.monitor()
    file = session_file(agent)
    file.write_text(file.read_text() + "\r\nX-Evil: 1")
    assert agent.monitor().code == 110
    assert not any("x-evil" in record.headers for record in agent.manager.requests)


def test_a_session_file_from_another_time(agent: RhevAgent) -> None:
    agent.monitor()
    for moment in (0, time.time() + 10**8):
        os.utime(session_file(agent), (moment, moment))
        assert agent.monitor().code == 110
    assert agent.manager.logins == 1  # no clock is looked at


def test_the_session_file_is_private(agent: RhevAgent) -> None:
    agent.monitor()
    assert session_file(agent).stat().st_mode & 0o777 == 0o600
    assert agent.state_dir.stat().st_mode & 0o777 == 0o700
    agent.state_dir.chmod(0o777)  # others may have written to it: not believed, not used
    assert agent.monitor().code == 110
    assert agent.manager.logins == 2


def test_a_state_directory_that_cannot_be_used(agent: RhevAgent) -> None:
    agent.state_dir.write_text("a file")
    for _ in range(2):
        done = agent.monitor()
        assert done.code == 110
        assert "cannot be kept" in done.text
    assert agent.manager.logins == 2


def test_a_full_disk(agent: RhevAgent) -> None:
    """A file system of one page, in a mount namespace of its own."""
    agent.state_dir.mkdir(mode=0o700)
    script = (
        'mount -t tmpfs -o size=4k,mode=0700 none "$0" && head -c 4096 /dev/zero >"$0/x"; exec "$@"'
    )
    command = ["unshare", "--mount", "sh", "-c", script, str(agent.state_dir)]
    done = subprocess.run(
        [*command, *agent.command("monitor")],
        env=agent.env,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 110
    assert b"its disk is not full" in done.stderr


def test_fifty_at_once_log_in_once(agent: RhevAgent) -> None:
    processes = [agent.start("monitor", limit_s=50) for _ in range(50)]
    codes = [process.wait(60) for process in processes]
    for process in processes:
        process.communicate()
    assert codes == [110] * 50
    assert agent.manager.logins == 1
    assert agent.monitor().code == 110
    assert agent.manager.logins == 1
    left = {path.name.rpartition(".")[0] for path in agent.state_dir.iterdir()}
    assert not any(name.rpartition(".")[2].isdigit() for name in left)


# Decryption


@pytest.mark.parametrize(
    ("answer", "text"),
    [((1, ""), "ended with 1"), ((0, ""), "printed nothing"), ((0, "\n"), "printed nothing")],
)
def test_a_decryption_that_fails(one_agent: RhevAgent, answer: tuple[int, str], text: str) -> None:
    one_agent.home.answer("decrypt", answer[1], answer[0])
    assert_unknown(one_agent.monitor(), "the password cannot be decrypted", text, "by hand")
    assert one_agent.manager.requests == []


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("/nonexistent/decrypt", "cannot be started; correct [vcs] decrypt_command"),
        ("/bin/sh -c 'sleep 60' x", "did not end in time"),
        ("/bin/sh -c 'unbalanced", "quotes do not match"),
        ("", "set [vcs] decrypt_command in kvmguest.conf"),
    ],
)
def test_a_decryption_command_that_is_none(one_agent: RhevAgent, command: str, text: str) -> None:
    one_agent.options["vcs"]["decrypt_command"] = command
    assert_unknown(one_agent.run("monitor", limit_s=6), "cannot be decrypted", text)
    assert one_agent.manager.requests == []


@pytest.mark.parametrize("source", ["perl", "shell", "hadecrypt", "vcsdecrypt"])
def test_the_decryption_command_is_discovered(one_agent: RhevAgent, source: str) -> None:
    one_agent.options["vcs"]["decrypt_command"] = ""
    home, command = one_agent.home.path, one_agent.home.decrypt_command
    if source == "perl":
        (home / "lib").mkdir()
        (home / "lib/ag_i18n_inc.pm").write_text(
            f"package ag_i18n_inc; our $HADECRYPT = '{command} -agent'; 1;\n"
        )
    elif source == "shell":
        with (home / "bin/ag_i18n_inc.sh").open("a") as include:
            include.write(f"HADECRYPT='{command} -agent'\n")
    else:
        (home / "bin" / source).symlink_to(home / "bin/decrypt")
    assert one_agent.monitor().code == 110
    (call,) = one_agent.home.calls("decrypt")
    assert call.argv == ([CIPHER] if source.endswith("decrypt") else ["-agent", CIPHER])


def test_the_password_is_nowhere_while_a_login_hangs(one_agent: RhevAgent) -> None:
    """In no argument list, no environment and no file of any process, while it is in use."""
    one_agent.env["KVMGUEST_DEBUG"] = "21"
    with one_agent.manager.fault("hang"):
        process = one_agent.start("monitor", limit_s=8)
        time.sleep(1.5)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != str(os.getpid()):
                for file in ("cmdline", "environ"):
                    try:
                        assert SECRET.encode() not in (entry / file).read_bytes()
                    except OSError:  # noqa: PERF203 - it ended
                        continue
        _out, err = process.communicate()
    assert process.returncode == 99
    assert SECRET.encode() not in err
    assert b"sso/oauth/token" in err  # the debug lines are there


def test_a_fault_of_our_own_shows_no_secret(one_agent: RhevAgent) -> None:
    """An exception from the depth of a login, with its traceback in the log."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "import http.client\n"
        "def broken(self, *args, **kwargs): raise RuntimeError('planted')\n"
        "http.client.HTTPSConnection.request = broken\n"
        "from kvmguest.entry import main\n"
        "sys.argv[0] = '/opt/VRTSvcs/bin/KVMGuest/monitor'\n"
        "main('monitor')\n"
    )
    arguments = one_agent.command("monitor")[1:]
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", script, *arguments],
        env=one_agent.env,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 99
    assert b"RuntimeError: planted" in done.stderr
    assert SECRET.encode() not in done.stderr
