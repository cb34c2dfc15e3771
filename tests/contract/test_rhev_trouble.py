"""Everything that can be wrong with RHEV-M, the way to it, or the VM's name.

Each case: monitor answers UNKNOWN within its limit, the sentence names the cause and the next step,
nothing is ordered, and the password is nowhere.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.contract.rhev_agent import (
    SECRET,
    UNSET,
    RhevAgent,
    assert_unknown,
    fixtures,
    watching_node,
)
from tests.doubles.manager import Manager

agent, one_agent = fixtures(watching_node)


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


def test_a_vm_of_another_cluster_is_not_the_guest(agent: RhevAgent) -> None:
    ours = agent.manager.vm("g1")
    ours.name = "not yet"
    agent.manager.add_vm("g1", "down", cluster="c2")
    only_there = "RHEV-M has a VM called g1 only in the cluster c2"
    assert_unknown(agent.monitor(), only_there, "RHEVMInfo.Cluster is c1")
    ours.name = "g1"
    assert agent.monitor().code == 110  # the other's id was not kept
    agent.manager.forget_requests()
    assert agent.monitor().code == 110
    assert len(agent.manager.requests) == 1


def test_a_vm_that_was_moved_to_another_cluster(agent: RhevAgent) -> None:
    """Its id is known, and so is the cluster that it was found in."""
    assert agent.monitor().code == 110
    vm = agent.manager.vm("g1")
    vm.cluster = agent.manager.cluster("c2")
    assert_unknown(agent.monitor(), "only in the cluster c2")
    del agent.info["Cluster"]
    assert agent.monitor().code == 110


def test_a_renamed_and_a_new_vm_behind_the_kept_id(agent: RhevAgent) -> None:
    assert agent.monitor().code == 110
    agent.manager.vm("g1").name = "old"
    assert_unknown(agent.monitor(), "no VM called exactly g1")
    agent.manager.add_vm("g1", "down", id="00000000-0000-4000-8000-0000000000bb")
    assert agent.monitor().code == 100
    del agent.manager.world.vms["00000000-0000-4000-8000-0000000000bb"]
    assert_unknown(agent.monitor(), "no VM called exactly g1")
