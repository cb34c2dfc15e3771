"""The manager's double against its specification: paths, versions, logins, search, filter."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
import requests

from tests.contract.engine_client import Client, detail, host_id, status
from tests.doubles.manager import PROFILES, Manager

TOKEN = "/ovirt-engine/sso/oauth/token"


# Paths and versions


@pytest.mark.parametrize(
    ("profile", "path", "header", "expected"),
    [
        ("3.1", "/api", "", "3"),
        ("3.1", "/ovirt-engine/api", "", 404),
        ("3.3", "/ovirt-engine/api", "", "3"),
        ("3.6", "/api", "4", "3"),  # before 4.0 nobody reads the header
        ("3.6", "/ovirt-engine/api/", "9", "3"),
        ("4.0", "/api", "", 404),
        ("4.0", "/ovirt-engine/api", "", "4"),
        ("4.0", "/ovirt-engine/api", "3", "3"),
        ("4.3", "/ovirt-engine/api/v3", "", "3"),
        ("4.3", "/ovirt-engine/api/v4", "3", "4"),
        ("4.3", "/ovirt-engine/api", "5", 400),
        ("4.4", "/ovirt-engine/api/", "4", "4"),
        ("4.4", "/ovirt-engine/api", "3", 405),
        ("4.5", "/ovirt-engine/api/v3/vms", "", 405),
        ("4.5", "/nowhere", "", 404),
    ],
)
def test_path_and_version(profile: str, path: str, header: str, expected: str | int) -> None:
    with Manager(profile, scale=0) as m, Client(m, url=m.root) as c:
        reply = c.session.get(m.root + path, headers={"Version": header} if header else {})
        if isinstance(expected, int):
            assert reply.status_code == expected
            assert "text/html" in reply.headers["Content-Type"]
            return
        version = ET.fromstring(reply.content).find("product_info/version")  # noqa: S314
        assert version is not None
        forms = {"3": version.get("major"), "4": version.findtext("major")}
        assert {key for key, major in forms.items() if major == profile[0]} == {expected}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_status_and_links_in_every_release(profile: str) -> None:
    with Manager(profile, hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("g1", "paused", "h1", status_detail="eio")
        vm = c.vm("g1")
        assert status(vm) == "paused"
        where = "status_detail" if PROFILES[profile].speaks_v4 else "status/detail"
        assert vm.findtext(where) == "eio"
        assert vm.get("href") == f"{m.path if profile != '3.3' else '/api'}/vms/{m.vm('g1').id}"
        assert list(vm.attrib) == ["href", "id"]
        assert host_id(vm) == m.host("h1").id
        host = c.xml(f"/hosts/{m.host('h1').id}")
        assert status(host) == "up"
        assert (host.find("hardware_information/uuid") is None) == (profile == "3.1")
        if not PROFILES[profile].speaks_v4:
            assert vm.find("status_detail") is None


@pytest.mark.parametrize("version", [3, 4])
def test_no_word_for_an_illegal_image_and_no_host_when_it_does_not_run(version: int) -> None:
    with Manager("4.3", hosts=["h1"], scale=0) as m, Client(m, version) as c:
        m.add_vm("g1", "image_illegal", "h1")
        assert c.vm("g1").find("status") is None
        for word in ("down", "suspended", "image_locked"):
            m.put("g1", word, "h1")
            assert (status(c.vm("g1")), host_id(c.vm("g1"))) == (word, None)
        for word in ("unknown", "not_responding", "migrating", "unassigned"):
            m.put("g1", word, "h1")
            assert (status(c.vm("g1")), host_id(c.vm("g1"))) == (word, m.host("h1").id)


def test_unknown_and_malformed_ids_are_an_empty_404() -> None:
    with Manager("4.4", hosts=["h1"], vms=["g1"], scale=0) as m, Client(m) as c:
        for path in ("/vms/no-id", f"/vms/{m.host('h1').id}", "/hosts/x", "/clusters/x", "/jobs/x"):
            reply = c.get(path)
            assert (reply.status_code, reply.content) == (404, b"")
        reply = c.act(
            "g1",
            "start",
            '<vm><placement_policy><hosts><host id="x"/></hosts></placement_policy></vm>',
        )
        assert (reply.status_code, "Operation failed" in reply.text) == (400, True)
        nobody = (
            "<placement_policy><hosts><host><name>nobody</name></host></hosts></placement_policy>"
        )
        reply = c.act("g1", "start", f"<vm>{nobody}</vm>")
        assert (reply.status_code, detail(reply)) == (404, "Entity not found: Hosts: name=nobody")
        assert "<action>" not in reply.text


def test_bodies_are_read_strictly() -> None:
    with Manager("4.4", hosts=["h1"], vms=["g1"], scale=0) as m, Client(m) as c:
        path = f"/vms/{m.vm('g1').id}/start"
        assert c.send("POST", path).status_code == 415
        assert c.send("POST", path, "").status_code == 400
        for body in ("<action>", "<vm/>", "<!DOCTYPE action><action/>"):
            assert c.send("POST", path, body).status_code == 400
        assert c.act("g1", "start", "<pause>perhaps</pause>").status_code == 400
        assert c.send("DELETE", f"/vms/{m.vm('g1').id}").status_code == 405
        assert c.act("g1", "start", "<unheard-of/>").status_code == 200


def test_json_has_strings_and_no_root_name() -> None:
    with Manager("4.4", vms=["g1"], scale=0) as m, Client(m) as c:
        vms = json.loads(c.get("/vms", Accept="application/json").content)
        assert vms["vm"][0]["memory"] == "1073741824"
        assert vms["vm"][0]["stateless"] == "false"
        assert c.get("/vms?search=name%3Dx", Accept="application/json").json() == {}
        assert c.get("/vms", Accept="text/plain").status_code == 406


def test_health_ca_and_correlation_need_no_login() -> None:
    with Manager("4.4", scale=0) as m, Client(m) as c:
        c.session.auth = None
        assert "DB Up!" in c.get("/ovirt-engine/services/health").text
        query = "?resource=ca-certificate&format=X509-PEM-CA"
        pem = c.get("/ovirt-engine/services/pki-resource" + query).text
        assert pem.startswith("-----BEGIN CERTIFICATE")
        c.session.auth = (m.user_name, m.password)
        reply = c.get("", Correlation_Id="kvm guest/1")
        assert reply.headers["Correlation-Id"] == "kvmguest1"
        assert "rel=vms" in c.send("HEAD", "").headers["Link"]
        assert m.logins == 2


# Logins


def test_basic_is_a_login_per_request_unless_a_cookie_keeps_it() -> None:
    with Manager("3.6", vms=["g1"], scale=0) as m, Client(m) as c:
        for _ in range(3):
            assert "Set-Cookie" not in c.get("/vms").headers
        assert (m.logins, m.accounts.open_sessions) == (3, 0)
        reply = c.get("/vms", Prefer="persistent-auth")
        assert reply.headers["Set-Cookie"].startswith(f"JSESSIONID={reply.headers['JSESSIONID']};")
        c.session.auth = None
        for _ in range(3):
            assert c.get("/vms", Prefer="persistent-auth").status_code == 200
        assert m.logins == 4
        assert c.get("/vms").status_code == 401  # without Prefer the session ends
        assert c.get("/vms", Prefer="persistent-auth").status_code == 401
        assert m.accounts.open_sessions == 0


def test_sessions_end_when_idle() -> None:
    with Manager("4.4", idle_minutes=30, scale=0) as m, Client(m) as c:
        c.get("", Prefer="persistent-auth", Session_TTL="2")
        c.session.auth = None
        m.advance(100)
        assert c.get("", Prefer="persistent-auth").status_code == 200
        m.advance(121)
        reply = c.get("", Prefer="persistent-auth")
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == 'Basic realm="RESTAPI"'
        assert "<title>Error</title>" in reply.text


def ask_token(c: Client, **changes: str) -> requests.Response:
    form = {
        "grant_type": "password",
        "scope": "ovirt-app-api",
        "username": "admin@internal",
        "password": "secret",
        **changes,
    }
    headers = {"Accept": "application/json"}
    return c.session.post(c.manager.root + TOKEN, data=form, headers=headers, auth=lambda r: r)


def test_tokens_are_kept_until_logout() -> None:
    with Manager("4.4", basic=False, scale=0) as m, Client(m) as c:
        assert c.get().status_code == 401  # Keycloak in front refuses Basic
        token = ask_token(c).json()["access_token"]
        assert len(token) == 86
        c.session.auth = None
        bearer = f"Bearer {token}"
        assert [c.get(Authorization=bearer).status_code for _ in range(3)] == [200] * 3
        assert m.logins == 1
        out = {"scope": "ovirt-app-api", "token": token}
        assert c.session.post(m.root + "/ovirt-engine/services/sso-logout", data=out).json() == {}
        assert c.get(Authorization=bearer).status_code == 401
        secrets = ("secret", token)
        assert not any(secret in str(m.requests) for secret in secrets)


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"password": "x"}, "access_denied", "Unable to log in."),
        ({"username": "nobody@internal"}, "access_denied", "Unable to log in."),
        ({"username": "admin"}, "access_denied", "No valid profile found in credentials."),
        ({"username": "admin@else"}, "access_denied", "No valid profile found in credentials."),
        ({"grant_type": "magic"}, "unsupported_grant_type", "magic"),
        ({"scope": "x"}, "invalid_scope", "x"),
        ({"grant_type": ""}, "invalid_request", "grant_type"),
    ],
)
def test_token_errors_are_json_with_400(changes: dict[str, str], code: str, text: str) -> None:
    with Manager("4.4", scale=0) as m, Client(m) as c:
        reply = ask_token(c, **changes)
        assert reply.status_code == 400
        fields = (
            ("error_code", "error") if "scope" not in changes else ("error", "error_description")
        )
        assert reply.json()[fields[0]] == code
        assert text in reply.json()[fields[1]]


def test_accounts_lock_after_five_failures() -> None:
    with Manager("4.4", scale=0) as m, Client(m) as c:
        for _ in range(5):
            assert ask_token(c, password="x").status_code == 400
        assert "locked" in ask_token(c).json()["error"]
        assert c.get().status_code == 401
        m.user("admin@internal").locked = False
        assert c.get().status_code == 200
        m.accounts.directory_down = True
        assert "Try again later" in ask_token(c).json()["error"]
        assert m.user("admin@internal").failures == 0


def test_old_engines_have_no_token_and_take_a_domain_user() -> None:
    with Manager("3.6", scale=0) as m, Client(m, user=("internal\\admin", "secret")) as c:
        assert ask_token(c).status_code == 404
        assert c.get().status_code == 200


# Search and filter


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("name=g1", ["G1", "g1"]),  # ILIKE, case does not count
        ('name="g1"', ["G1", "g1"]),
        ("name=g", []),  # the whole string
        ("name=g*", ["G1", "g1", "g1_a", "g1xa"]),
        ("name=g1_a", ["g1_a"]),  # _ and % are escaped
        ("name=%", []),
        ("name=my vm", ["my"]),  # the trap of not quoting
        ('name="my vm"', []),
        ('name="g1" and cluster="C2"', ["G1"]),
        ("name=g1 and cluster=c2 or name=my", ["G1", "my"]),
        ("name!=g*", ["my"]),
        ("sortby name desc", ["my", "g1xa", "g1_a", "g1", "G1"]),
        ("name=g1xa sortby name asc page 1", ["g1xa"]),
        ("", ["G1", "g1", "g1_a", "g1xa", "my"]),
        # No error for any of these, only nothing
        ("name=", []),
        ("name='g1'", []),
        ("name=g1;", []),
        ("name=g1\\", []),
        ('name="g1', []),
        ("colour=red", []),
        ("name=g1 something else", []),
    ],
)
def test_search(search: str, found: list[str]) -> None:
    with Manager("4.4", vms=["g1", "g1_a", "g1xa", "my"], scale=0) as m, Client(m) as c:
        m.add_vm("G1", cluster="c2")
        assert c.names(search) == found


def test_search_by_vdsm_id_only_from_4_3() -> None:
    for profile, hits in (("4.2", 0), ("4.3", 1)):
        with Manager(profile, hosts=["h1", "h2"], scale=0) as m, Client(m) as c:
            found = c.xml(f"/hosts?search=hw_id%3D{m.host('h2').vdsm_id.lower()}")
            assert len(found) == hits


def test_max_case_sensitive_and_matrix_parameters() -> None:
    with Manager("3.6", vms=["G1", "g1", "g2"], scale=0) as m, Client(m) as c:
        assert len(c.xml("/vms;max=2")) == 2
        assert len(c.xml("/vms?max=1")) == 1
        assert [
            vm.findtext("name") for vm in c.xml("/vms;case_sensitive=true?search=name%3Dg1")
        ] == ["g1"]
    with Manager("3.1", vms=[f"g{n}" for n in range(101)], scale=0) as m, Client(m) as c:
        assert len(c.xml("/vms")) == 100


@pytest.mark.parametrize(
    ("profile", "found"), [("3.1", 2), ("3.5", 2), ("3.6", 1), ("4.1", 1), ("4.5", 1)]
)
def test_filter_hides_the_host_and_once_ignored_the_search(profile: str, found: int) -> None:
    with Manager(profile, hosts=["h1"], scale=0) as m, Client(m) as c:
        m.add_vm("a1", "up", "h1")
        m.add_vm("g1", "up", "h1")
        assert len(c.names("name=g1")) == 1
        assert len(c.names("name=g1", Filter="true")) == found
        vm = c.vm("g1", Filter="true")
        assert (status(vm), vm.find("host"), vm.find("placement_policy")) == ("up", None, None)
        assert c.vm("g1", Filter="false").find("host") is not None


@pytest.mark.parametrize(
    ("profile", "code"), [("3.1", 400), ("3.6", 400), ("4.1", 400), ("4.2", 200), ("4.4", 200)]
)
def test_a_user_without_admin_role_must_filter_and_newer_engines_do_it(
    profile: str, code: int
) -> None:
    joe = ("joe@internal", "joe")
    with Manager(profile, hosts=["h1"], vms=["other"], scale=0) as m, Client(m, user=joe) as c:
        m.add_user(*joe, "UserRole", vms={"g1"})
        m.add_vm("g1", "up", "h1")
        reply = c.get("/vms")
        assert reply.status_code == code
        if code == 400:
            assert (
                detail(reply).lower() == "query execution failed due to insufficient permissions."
            )
        else:
            assert c.names("") == ["g1"]
        vm = c.vm("g1", Filter="true")
        assert (status(vm), vm.find("host")) == ("up", None)
        assert c.get(f"/vms/{m.vm('other').id}", Filter="true").status_code == 404
        assert c.get("").status_code == code  # the summary is a query, too
        assert c.xml("", Filter="true").find("summary") is None
        assert c.get("/vms", Filter="false").status_code == 400
