"""Everything that can be wrong with RHEV-M, the way to it, or the configuration.

Each case: monitor answers UNKNOWN within its limit, the sentence names the cause and the next step,
nothing is ordered, and the password is nowhere.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.rhev_agent import CIPHER, SECRET, UNSET, Done, RhevAgent
from tests.doubles.manager import Manager

GENERATIONS = ("3.6", "4.4")


@pytest.fixture(params=GENERATIONS)
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    with Manager(
        request.param, hosts=["h1", "h2"], vms=["g1"], scale=0, password=SECRET
    ) as running:
        running.put("g1", "up", "h1")
        yield running


@pytest.fixture
def agent(manager: Manager, tmp_path: Path) -> Iterator[RhevAgent]:
    agent = RhevAgent(tmp_path, manager)
    yield agent
    assert manager.commands == []
    assert agent.secrets_found() == []


@pytest.fixture
def one_agent(tmp_path: Path) -> Iterator[RhevAgent]:
    """Where the API's generation makes no difference."""
    with Manager("4.4", hosts=["h1", "h2"], vms=["g1"], scale=0, password=SECRET) as running:
        running.put("g1", "up", "h1")
        agent = RhevAgent(tmp_path, running)
        yield agent
        assert running.commands == []
        assert agent.secrets_found() == []


def assert_unknown(done: Done, *texts: str) -> None:
    assert done.code == 99, done.text
    for text in texts:
        assert text in done.text


FAULTS = {
    "hang": "the load",
    "drip": "not a whole answer in",
    "stuck": "the load",
    "reset": "broke off its answer",
    "cut": "broke off its answer",
    "lost": "broke off its answer",
    "truncated": "XML cannot be read",
    "bomb": "XML cannot be read",
    "html": "answered 200 with text/html instead of XML; see engine.log",
    "404": "RHEV-M is still starting, or RHEVMInfo.URL has a wrong path",
    "500": "answered 500 with text/html",
    "503": "ovirt-engine is down or starting",
    "403": "answered 403",
    "401": "does not accept the session it has just opened",
    "empty": "XML cannot be read",
    "huge": "answered with more than",
}
AT_LOGIN = {
    **FAULTS,
    "404": "RHEV-M is still starting, or RHEVMInfo.URL is wrong",
    "401": "correct RHEVMInfo's User and Password",
    "truncated": "",  # the token service says it in JSON
    "empty": "",
    "bomb": "",
    "huge": "",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_in_steady_state(agent: RhevAgent, kind: str) -> None:
    assert agent.monitor().code == 110
    with agent.manager.fault(kind, path="/vms"):
        done = agent.monitor(limit_s=6)
    assert_unknown(done, FAULTS[kind])
    assert agent.monitor().code == 110  # and it is over when the fault is


@pytest.mark.parametrize("kind", AT_LOGIN)
def test_a_fault_at_login(agent: RhevAgent, kind: str) -> None:
    with agent.manager.fault(kind):
        done = agent.monitor(limit_s=6)
    assert_unknown(done, AT_LOGIN[kind], "RHEV-M")


@pytest.mark.parametrize("kind", ["truncated", "403", "500", "html", "hang"])
def test_a_fault_of_the_hosts_leaves_the_place_open(one_agent: RhevAgent, kind: str) -> None:
    with one_agent.manager.fault(kind, path="/hosts"):
        done = one_agent.monitor(limit_s=6)
    assert_unknown(done)


URLS = {
    "http://127.0.0.1:{port}": "would send the password in clear; set it to https://",
    UNSET: "RHEVMInfo.URL is not set; set it to https://",
    "https://": "must begin with https:// and name a host",
    "ftp://127.0.0.1:{port}": "must begin with https://",
    "https://user:pw@127.0.0.1:{port}": "belongs into RHEVMInfo.User",
    "https://127.0.0.1:99999": "cannot be understood",
    "https://127.0.0.1:{port}/x?y=z": "is not possible",
    "https://no-such-host.invalid:{port}": "the name no-such-host.invalid is not known",
    "https://127.0.0.1:{closed}": "refuses connections",
    "https://127.0.0.1:{port}/somewhere": "has no API at /somewhere (404)",
    "https://localhost:{port}": "",
}


@pytest.mark.parametrize("url", URLS)
def test_wrong_urls(one_agent: RhevAgent, url: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # not listening
        ports = {"port": one_agent.manager.port, "closed": closed.getsockname()[1]}
        one_agent.info["URL"] = url.format(**ports)
        done = one_agent.monitor()
    if url.startswith("https://localhost"):
        assert done.code in {99, 110}  # as the certificate has it
        return
    assert_unknown(done, URLS[url])
    assert SECRET not in done.text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("User", UNSET, "RHEVMInfo.User is not set"),
        ("User", "admin", "it must be user@profile"),
        ("Password", UNSET, "RHEVMInfo.Password is not set"),
        ("Enabled", "2", "RHEVMInfo.Enabled is '2'"),
        ("Cluster", "nowhere", "RHEV-M shows no cluster of exactly the name nowhere"),
        ("User", "admin@elsewhere", "correct what follows the @ in RHEVMInfo.User"),
    ],
)
def test_wrong_attributes(one_agent: RhevAgent, key: str, value: str, text: str) -> None:
    one_agent.info[key] = value
    assert_unknown(one_agent.monitor(), text)


def test_open_names_every_complaint_at_once(one_agent: RhevAgent) -> None:
    one_agent.info.update(URL="http://x", User=UNSET, Password=UNSET)
    done = one_agent.run("open")
    assert done.severities == ["E"]
    for key in ("URL", "User", "Password"):
        assert f"RHEVMInfo.{key}" in done.text


@pytest.mark.parametrize(
    ("certificate", "text"),
    [
        ("expired", "it has expired: renew it on RHEV-M"),
        ("wrong_name", "write RHEVMInfo.URL with the name in the certificate"),
        ("unknown_ca", "put RHEV-M's CA certificate into [rhev] ca_file"),
    ],
)
def test_certificates(tmp_path: Path, certificate: str, text: str) -> None:
    with Manager(
        "4.4", hosts=["h1"], vms=["g1"], certificate=certificate, password=SECRET
    ) as manager:
        agent = RhevAgent(tmp_path, manager)
        assert_unknown(agent.monitor(), f"the certificate of 127.0.0.1:{manager.port}", text)
        assert manager.requests == []  # no byte of the password was sent
        agent.options["rhev"]["verify"] = "no"
        manager.put("g1", "up", "h1")
        done = agent.monitor()
        assert done.code == 110
        assert "[rhev] verify is off" in done.text


def test_a_plain_port_is_not_a_certificate_problem(one_agent: RhevAgent) -> None:
    with socket.socket() as plain:
        plain.bind(("127.0.0.1", 0))
        plain.listen()
        one_agent.info["URL"] = f"https://127.0.0.1:{plain.getsockname()[1]}"
        process = one_agent.start("monitor", limit_s=6)
        connection, _peer = plain.accept()
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert process.wait(10) == 99
        connection.close()
        _out, err = process.communicate()
    assert b"no TLS with" in err


def test_a_server_that_accepts_and_says_nothing(one_agent: RhevAgent) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        one_agent.info["URL"] = f"https://127.0.0.1:{mute.getsockname()[1]}"
        assert_unknown(one_agent.run("monitor", limit_s=6))


def test_a_ca_file_that_is_not_there(one_agent: RhevAgent) -> None:
    one_agent.options["rhev"]["ca_file"] = "/nonexistent/ca.pem"
    assert_unknown(one_agent.monitor(), "/nonexistent/ca.pem", "correct [rhev] ca_file")


def test_the_environment_redirects_nothing(one_agent: RhevAgent, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password netrc\n")
    nowhere = "http://127.0.0.1:9"
    one_agent.env.update(
        HOME=str(tmp_path),
        NETRC=str(tmp_path / ".netrc"),
        https_proxy=nowhere,
        HTTPS_PROXY=nowhere,
        ALL_PROXY=nowhere,
        REQUESTS_CA_BUNDLE="/nonexistent",
        CURL_CA_BUNDLE="/nonexistent",
        SSL_CERT_FILE=one_agent.manager.ca_file,
        SSLKEYLOGFILE=str(tmp_path / "keys"),
        PYTHONHTTPSVERIFY="0",
    )
    assert one_agent.monitor().code == 110
    assert {record.user for record in one_agent.manager.requests} <= {"", "admin@internal"}
    assert not (tmp_path / "keys").exists()
    # And SSL_CERT_FILE does not make the unknown known.
    del one_agent.options["rhev"]["ca_file"]
    assert_unknown(one_agent.fresh_monitor(), "its CA is not known here")


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


# VMs


def test_a_missing_vm(agent: RhevAgent) -> None:
    done = agent.monitor(guest="g2")
    assert_unknown(done, "RHEV-M has no VM called exactly g2", "correct GuestName")


def test_names_that_differ_only_in_case(agent: RhevAgent) -> None:
    agent.manager.add_vm("G1", "down")
    assert agent.monitor().code == 110
    assert agent.monitor(guest="G1").code == 100
    assert_unknown(agent.monitor(guest="g*"), "no VM called exactly g* (but G1, g1)")


def test_two_vms_of_one_name(one_agent: RhevAgent) -> None:
    one_agent.manager.add_vm("g1", "down", cluster="c2")
    assert one_agent.monitor().code == 110  # told apart by the cluster
    one_agent.manager.add_vm("g1", "down", cluster="c1", id="00000000-0000-4000-8000-0000000000aa")
    one_agent.run("attr_changed")
    done = one_agent.monitor()
    assert_unknown(done, "RHEV-M has 2 VMs called g1; rename one")


def test_a_renamed_and_a_new_vm_behind_the_kept_id(agent: RhevAgent) -> None:
    assert agent.monitor().code == 110
    agent.manager.vm("g1").name = "old"
    assert_unknown(agent.monitor(), "no VM called exactly g1")
    agent.manager.add_vm("g1", "down", id="00000000-0000-4000-8000-0000000000bb")
    assert agent.monitor().code == 100
    del agent.manager.world.vms["00000000-0000-4000-8000-0000000000bb"]
    assert_unknown(agent.monitor(), "no VM called exactly g1")


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
