"""What is kept of a login, and what is believed of what was kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmguest.arglist import RhevmInfo
from kvmguest.rhev import login, settings
from kvmguest.rhev.login import Credential
from kvmguest.rhev.wire import Api

KEPT = Credential("/ovirt-engine/api", Api(4, (4, 5)), login.BEARER, "token-_x.Y")


@pytest.mark.parametrize("credential", [KEPT, KEPT._replace(kind=login.COOKIE, base="/api")])
def test_a_session_is_read_as_it_was_written(credential: Credential) -> None:
    assert login.from_text(login.to_text(credential)) == credential


def test_a_password_is_never_kept() -> None:
    assert login.to_text(KEPT._replace(kind=login.BASIC)) == ""


def test_no_secret_in_a_repr() -> None:
    assert KEPT.secret not in repr(KEPT)
    assert KEPT.secret not in f"{KEPT}"


@given(st.text())
def test_no_text_makes_a_header_that_is_two(text: str) -> None:
    found = login.from_text(f"/api\n3\n3\n6\n{login.COOKIE}\n{text}")
    if found is not None:
        line = login.headers(found)["Cookie"]
        assert line == f"JSESSIONID={text}"
        assert not set(line) & set("\r\n;, ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n" * 5,
        "api\n4\n4\n5\nBearer\nt",
        "/api\n5\n4\n5\nBearer\nt",
        "/api\n4\nx\n5\nBearer\nt",
        "/api\n4\n4\n5\nBasic\nt",
        "/api\n4\n4\n5\nBearer\nt\nmore",
    ],
)
def test_anything_else_is_no_session(text: str) -> None:
    assert login.from_text(text) is None


def info(**changes: str) -> RhevmInfo:
    given = {"url": "https://m:443", "user": "admin@internal", "password": "x", "cluster": "c"}
    return RhevmInfo(is_enabled=True, use_manual_fencing=False, **{**given, **changes})


def test_a_sound_rhevminfo() -> None:
    assert settings.complaints(info()) == []
    assert settings.complaints(info(cluster="")) == []
    assert settings.address("https://m") == ("m", 443, "")
    assert settings.address("https://[2001:db8::1]:8443/api/") == ("2001:db8::1", 8443, "/api")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("url", ""),
        ("url", "http://m"),
        ("url", "m:443"),
        ("url", "https://m:x"),
        ("url", "https://m/a\r\nb"),
        ("url", "https://m/ä"),
        ("url", "https://a:b@m"),
        ("url", "https://[::1"),
        ("user", ""),
        ("user", "admin"),
        ("user", "a@b\nc"),
        ("password", ""),
        ("cluster", 'a"b'),
    ],
)
def test_what_is_wrong_is_named(key: str, value: str) -> None:
    (complaint,) = settings.complaints(info(**{key: value}))
    assert f"RHEVMInfo.{key.upper() if key == 'url' else key.title()}" in complaint
