"""The manager's double: its TLS, its faults, its manners as a server, and its shell."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import socket
import ssl
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import requests

from tests.contract.engine_client import XML, Client, host_id, status
from tests.doubles.manager import Manager, ManagerElsewhere

# TLS


@pytest.mark.parametrize(
    ("certificate", "complaint"),
    [
        ("expired", "certificate has expired"),
        ("wrong_name", "IP address mismatch"),
        ("unknown_ca", "self-signed certificate in certificate chain"),
    ],
)
def test_certificates_are_wrong_in_one_way(certificate: str, complaint: str) -> None:
    with Manager("4.4", certificate=certificate, scale=0) as m, Client(m) as c:
        with pytest.raises(requests.exceptions.SSLError, match=complaint):
            c.get()
        assert m.requests == []


def test_no_tls_no_answer() -> None:
    with Manager("4.4", scale=0) as m, socket.create_connection(("127.0.0.1", m.port)) as plain:
        plain.sendall(b"GET /ovirt-engine/api HTTP/1.1\r\n\r\n")
        try:
            answer = plain.recv(100)
        except ConnectionResetError:
            answer = b""
        assert not answer.startswith(b"HTTP")


# Faults

VM = "/vms/"


def test_a_fault_takes_its_path_and_method_and_ends() -> None:
    with Manager("4.4", vms=["g1"], scale=0) as m, Client(m) as c:
        with m.fault("500", path="/vms", method="GET") as fault:
            assert c.get("/vms").status_code == 500
            assert c.get("/hosts").status_code == 200
            assert c.act("g1", "stop").status_code == 200
            assert fault.hits == 1
        assert c.get("/vms").status_code == 200
        m.fault("503", path="*/vms/*", times=1)
        assert [c.get(f"{VM}{m.vm('g1').id}").status_code for _ in range(2)] == [503, 200]
        with pytest.raises(ValueError, match="no such fault"):
            m.fault("mildew")


@pytest.mark.parametrize(
    ("kind", "code", "content_type"),
    [
        ("html", 200, "text/html"),
        ("401", 401, "text/html"),
        ("403", 403, "text/html"),
        ("404", 404, "text/html"),
        ("500", 500, "text/html"),
        ("503", 503, "text/html"),
        ("empty", 200, XML),
        ("bomb", 200, XML),
    ],
)
def test_faults_that_answer_in_the_engines_place(kind: str, code: int, content_type: str) -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        m.fault(kind, path="/stop")
        reply = c.act("g1", "stop")
        assert reply.status_code == code
        assert reply.headers["Content-Type"].startswith(content_type)
        m.advance(10)
        assert m.vm("g1").status == "up"  # nothing was executed
        assert m.commands == ["stop g1"]
        if kind == "bomb":
            assert reply.content.count(b"<!ENTITY") == 9


@pytest.mark.parametrize("profile", ["3.6", "4.4"])
def test_faults_inside_the_document(profile: str) -> None:
    with Manager(profile, hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        with m.fault("no_status"):
            vm = c.vm("g1")
            assert (status(vm), host_id(vm)) == (None, m.host("h1").id)
        with m.fault("no_host"):
            vm = c.vm("g1")
            assert (status(vm), host_id(vm)) == ("up", None)
        with m.fault("strange_status"):
            assert status(c.vm("g1")) == "levitating"
        with m.fault("truncated"):
            reply = c.get("/vms")
            assert reply.status_code == 200
            with pytest.raises(ET.ParseError):
                ET.fromstring(reply.content)  # noqa: S314 - our own server


def test_drip_outlives_a_read_timeout() -> None:
    with Manager("4.4", vms=["g1"], scale=0) as m, Client(m) as c:
        m.fault("drip", path=VM, pause_s=0.02)
        began = time.monotonic()
        got = b""
        reply = c.session.get(f"{m.url}{VM}{m.vm('g1').id}", stream=True, timeout=0.2)
        for byte in reply.iter_content(1):
            got += byte
            if time.monotonic() - began > 0.6:
                break
        reply.close()
        assert 5 < len(got) < 60
        m.fault("drip", path="/hosts", pause_s=0.0)
        assert c.get("/hosts").text.endswith("<hosts/>\n")


@pytest.mark.parametrize(
    ("kind", "error", "stopped"),
    [
        ("hang", requests.exceptions.ReadTimeout, False),
        ("reset", requests.exceptions.ConnectionError, False),
        ("cut", requests.exceptions.ChunkedEncodingError, True),
        ("lost", requests.exceptions.ConnectionError, True),
        ("stuck", requests.exceptions.ReadTimeout, True),
    ],
)
def test_faults_of_the_connection(kind: str, error: type[Exception], stopped: bool) -> None:
    with Manager("4.4", hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "up", "h1")
        m.fault(kind, path="/stop")
        url = f"{m.url}/vms/{m.vm('g1').id}/stop"
        with pytest.raises(error):
            c.session.post(url, data="<action/>", headers={"Content-Type": XML}, timeout=0.2)
        m.advance(10)
        assert (m.vm("g1").status == "down") == stopped
        assert c.get("/vms").status_code == 200  # the next connection is well


def test_huge_replies_are_small_on_the_wire() -> None:
    with Manager("4.4", scale=0) as m, Client(m) as c:
        m.fault("huge")
        url = f"{m.url}/vms"
        with c.session.get(url, stream=True, timeout=10) as reply:
            assert int(reply.headers["Content-Length"]) < 1 << 20
            assert sum(len(part) for part in reply.iter_content(1 << 20)) > 60 << 20


def test_slow_is_late_and_whole() -> None:
    with Manager("4.4", scale=0) as m, Client(m) as c:
        m.fault("slow", pause_s=0.3)
        began = time.monotonic()
        assert c.get("/vms").status_code == 200
        assert time.monotonic() - began >= 0.3


def test_a_hanging_client_does_not_keep_the_server() -> None:
    before = threading.active_count()
    with Manager("4.4", scale=0) as m:
        m.fault("hang")
        connection = http.client.HTTPSConnection(
            "127.0.0.1", m.port, context=ssl.create_default_context(cafile=m.ca_file)
        )
        connection.request("GET", "/ovirt-engine/api")
        began = time.monotonic()
    assert time.monotonic() - began < 2
    connection.close()
    assert threading.active_count() == before


# Manners


def test_one_connection_serves_many_requests() -> None:
    with Manager("4.4", vms=["g1"], scale=0) as m, Client(m) as c:
        for _ in range(20):
            reply = c.get("/vms")
            assert (reply.status_code, reply.headers["Content-Encoding"]) == (200, "gzip")
        assert "Content-Encoding" not in c.get("/vms", Accept_Encoding="identity").headers
        assert m.connections == 1
        assert c.get("/vms", Connection="close").headers["Connection"] == "close"
        c.get("/vms")
        assert m.connections == 2


def test_chunked_bodies_and_expect_are_understood() -> None:
    with Manager("4.4", hosts=["h1"], vms=["g1"], scale=0) as m, Client(m) as c:
        url = f"{m.url}/vms/{m.vm('g1').id}"
        body = iter([b"<vm>", b"<comment>in pieces", b"</comment></vm>"])
        c.session.put(url, data=body, headers={"Content-Type": XML}, timeout=5)
        assert m.vm("g1").comment == "in pieces"
        context = ssl.create_default_context(cafile=m.ca_file)
        with (
            socket.create_connection(("127.0.0.1", m.port)) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as tls,
        ):
            head = "POST /ovirt-engine/api HTTP/1.1", "Expect: 100-continue", "Content-Length: 2"
            tls.sendall("\r\n".join((*head, "", "")).encode())
            assert tls.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            tls.sendall(b"ab")
            assert tls.recv(1000).startswith(b"HTTP/1.1 401")
            tls.sendall(b"nonsense\r\n\r\n")
            assert tls.recv(1000).startswith(b"HTTP/1.1 400")


def cpu_s(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_fifty_clients_at_once_cost_the_server_little() -> None:
    """Its own CPU time, a TLS handshake and a login for each of 200 requests included."""
    with ManagerElsewhere("--host", "h1", "--vm", "g1:up:h1") as m:

        def monitor(_: int) -> int:
            with requests.Session() as session:
                session.trust_env = False
                url = f"{m.url}/vms?search=name%3Dg1"
                return session.get(
                    url, auth=(m.user_name, "secret"), verify=m.ca_file, timeout=30
                ).status_code

        before_s = cpu_s(m.process.pid)
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            assert set(pool.map(monitor, range(200))) == {200}
        used_s = cpu_s(m.process.pid) - before_s
        assert m.tell("logins") == "200"
        assert len(json.loads(m.tell("requests"))) == 200
        print(f"{used_s / 200 * 1000:.1f} ms of CPU per request")
        assert used_s / 200 < 0.010


# Shell


def test_the_double_in_another_process_obeys_lines() -> None:
    with ManagerElsewhere("--profile", "3.6", "--host", "h1", "--vm", "g1:up:h1") as m:
        assert m.url.endswith("/ovirt-engine/api")
        assert m.tell("host h2") == "ok"
        assert m.tell("vm g2 paused h2 status_detail=eio") == "ok"
        assert m.tell("host h1 die") == "ok"
        assert m.tell("advance 61.5") == "ok"
        shown = json.loads(m.tell("show"))
        assert shown["vms"] == {"g1": ["unknown", "h1"], "g2": ["paused", "h2"]}
        assert shown["hosts"] == {"h1": "non_responsive", "h2": "up"}
        m.tell("fault 503 /vms times=1")
        m.tell("user joe@internal pw UserRole")
        with requests.Session() as session:
            session.trust_env = False
            codes = [
                session.get(
                    m.url + "/vms",
                    auth=("joe@internal", "pw"),
                    headers={"Filter": "true"},
                    verify=m.ca_file,
                    timeout=10,
                ).status_code
                for _ in range(2)
            ]
        assert codes == [503, 200]
        assert json.loads(m.tell("requests"))[1] == ["GET /ovirt-engine/api/vms", 200, True]
        for nonsense in ("dance", "vm g1 colour=red", "host h1 jump", "fault mildew", "advance"):
            with pytest.raises(ValueError, match="what"):
                m.tell(nonsense)
