"""One HTTPS request: verified, limited in time and size, and deaf to its environment.

Why the standard library's http.client and not requests: a monitor lives for less than a tenth of a
second, and most of that is imports. Measured here (Debian 12, median of 9, process start of 11 ms
taken off): requests 64 ms, urllib3 36 ms, http.client with ssl 19 ms; the whole of fence_rhevm
needs 38 ms before its first request. http.client also reads no .netrc, no proxy variable and no
REQUESTS_CA_BUNDLE, follows no redirect and repeats nothing, which is all wanted here. What it lacks
is a limit for a whole call: a server that drips a byte a second satisfies every read. So each
request runs in a thread that is abandoned at the limit (deadline.call_within).
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple

from kvmguest.deadline import Deadline, call_within
from kvmguest.errors import (
    BackendError,
    ConfigError,
    OperationFailed,
    Silent,
    Unreachable,
    Untrusted,
)
from kvmguest.log import Log
from kvmguest.rhev.settings import Address

CONNECT_LIMIT_S = 5.0
"""For the connection and for the TLS handshake, each; fence_rhevm's figure."""
READ_LIMIT_S = 15.0
"""For one read; RHEV-M answers a GET in well below a second, an action in a few."""
CALL_LIMIT_S = 25.0
_TOO_SHORT_S = 0.1
MAX_BODY_BYTES = 8 * 1024 * 1024
"""A list of some thousand VMs; a single VM has a few KiB."""
VDSM_CA = "/etc/pki/vdsm/certs/cacert.pem"
"""RHEV-M's own CA, on each of its hypervisors."""

# OpenSSL's X509_V_ERR_* numbers (x509_vfy.h) and what to do about them.
_UNKNOWN_CA = "its CA is not known here: put RHEV-M's CA certificate into [rhev] ca_file"
_WRONG_NAME = "it was made for another name: write RHEVMInfo.URL with the name in the certificate"
_CERTIFICATE_ADVICE: Mapping[int, str] = {
    9: "it is not valid yet: see the clocks of this node and of RHEV-M",
    10: "it has expired: renew it on RHEV-M (engine-setup), or see this node's clock",
    18: _UNKNOWN_CA,
    19: _UNKNOWN_CA,
    20: _UNKNOWN_CA,
    21: _UNKNOWN_CA,
    62: _WRONG_NAME,
    64: _WRONG_NAME,
}


class Reply(NamedTuple):
    """An answer. ``content_type`` is in lower case; ``cookie`` is the value of JSESSIONID or ""."""

    status: int
    content_type: str
    body: bytes
    cookie: str = ""

    @property
    def is_xml(self) -> bool:
        """Whether the engine itself answered, and not a web server before it."""
        return "xml" in self.content_type


def tls_context(ca_file: str, *, verify: bool) -> ssl.SSLContext:
    """Certificates are checked against ca_file, else vdsm's CA, else the system's store.

    The paths of the system's store are those compiled into OpenSSL: SSL_CERT_FILE does not count.

    Raises:
        ConfigError: ca_file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    path = ca_file or (VDSM_CA if os.path.exists(VDSM_CA) else "")
    try:
        if path:
            context.load_verify_locations(cafile=path)
        else:
            system = ssl.get_default_verify_paths()
            cafile, capath = system.openssl_cafile, system.openssl_capath
            context.load_verify_locations(
                cafile=cafile if os.path.exists(cafile) else None, capath=capath
            )
    except OSError as error:  # ssl.SSLError is one: no certificate in the file
        name = path or "of the system"
        complaint = f"the CA certificate {name} cannot be read ({error}): correct [rhev] ca_file"
        raise ConfigError([complaint]) from None
    return context


class Transport:
    """Requests to one server; a new connection for each, since there is one request per monitor."""

    def __init__(
        self, address: Address, context: ssl.SSLContext, deadline: Deadline, log: Log
    ) -> None:
        self._address = address
        self._context = context
        self._deadline = deadline
        self._log = log
        self.name = f"{address.host}:{address.port}"

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply:
        """Ask once.

        Raises:
            Untrusted: the certificate is not right.
            Unreachable: no connection, or it broke.
            Silent: no answer, or not a whole one, in time; what was asked may be done all the same.
            OperationFailed: the answer is too large.
        """
        what = f"{method} https://{self.name}{path}"
        begin = time.monotonic()
        limit_s = self._deadline.slice(CALL_LIMIT_S)
        outcome = "no answer"
        try:
            reply = call_within(
                limit_s,
                f"RHEV-M at {self.name}",
                lambda: self._exchange(method, path, headers, body),
            )
            outcome = f"{reply.status} {reply.content_type}, {len(reply.body)} bytes"
        except Silent:
            if limit_s < _TOO_SHORT_S:
                raise Silent(f"no time was left to ask {self.name}") from None
            outcome = f"not a whole answer in {limit_s:.1f} s"
            raise Silent(
                f"{self.name} gave {outcome}; see the load and the log of RHEV-M"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            outcome = f"{type(error).__name__}: {error}"
            raise self._translate(error) from None
        finally:
            self._log.debug(2, f"{what}: {outcome} ({(time.monotonic() - begin) * 1000:.0f} ms)")
        return reply

    def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Reply:
        host, port = self._address.host, self._address.port
        connection = http.client.HTTPSConnection(
            host, port, timeout=self._slice(CONNECT_LIMIT_S), context=self._context
        )
        try:
            self._connect(connection)
            connection.sock.settimeout(self._slice(READ_LIMIT_S))
            connection.request(method, path, body, {**headers, "Connection": "close"})
            response = connection.getresponse()
            content = response.read(MAX_BODY_BYTES + 1)
            if len(content) > MAX_BODY_BYTES:
                raise OperationFailed(
                    f"{self.name} answered with more than {MAX_BODY_BYTES} bytes; see that "
                    f"RHEVMInfo.URL is RHEV-M's"
                )
            if response.length:  # read(n) does not complain by itself
                raise http.client.IncompleteRead(content, response.length)
            content_type = (response.getheader("Content-Type") or "").lower()
            cookies = response.headers.get_all("Set-Cookie") or []
            return Reply(response.status, content_type, content, _session_id(cookies))
        finally:
            connection.close()

    def _connect(self, connection: http.client.HTTPSConnection) -> None:
        """TCP and TLS. Where these take too long nothing was asked, so it is not Silent."""
        try:
            connection.connect()
        except TimeoutError as error:
            raise Unreachable(
                f"{self.name} does not answer ({type(error).__name__}: {error}); see the network, "
                f"a firewall, and the load of RHEV-M"
            ) from None

    def _slice(self, seconds: float) -> float:
        """A socket's limit, never 0: that would mean not to wait at all."""
        return max(_TOO_SHORT_S, self._deadline.slice(seconds))

    def _translate(self, error: Exception) -> BackendError:
        """A failed exchange, by who has to act."""
        if isinstance(error, ssl.SSLCertVerificationError):
            advice = _CERTIFICATE_ADVICE.get(error.verify_code, "look at it with openssl s_client")
            said = error.verify_message
            return Untrusted(f"the certificate of {self.name} is not accepted ({said}): {advice}")
        for kinds, meaning, text in _FAILURES:
            if isinstance(error, kinds):
                reason = f"{type(error).__name__}: {error}"
                return meaning(text.format(at=self.name, host=self._address.host, reason=reason))
        raise AssertionError("the last row takes every error") from error


# The first row that fits counts: ssl.SSLError and TimeoutError are OSErrors too.
_FAILURES: tuple[tuple[tuple[type[Exception], ...], type[BackendError], str], ...] = (
    (
        (TimeoutError,),
        Silent,
        "{at} does not answer ({reason}); see the network, a firewall, and the load of RHEV-M",
    ),
    (
        (ssl.SSLError,),
        Unreachable,
        "no TLS with {at} ({reason}); see that RHEVMInfo.URL names RHEV-M's https port",
    ),
    (
        (socket.gaierror,),
        Unreachable,
        "the name {host} is not known ({reason}); correct RHEVMInfo.URL or the name service",
    ),
    (
        (ConnectionRefusedError,),
        Unreachable,
        "{at} refuses connections; start RHEV-M's web server, or correct RHEVMInfo.URL",
    ),
    (
        (http.client.HTTPException, ConnectionError),
        Unreachable,
        "{at} broke off its answer ({reason}); see RHEV-M's web server",
    ),
    (
        (Exception,),
        Unreachable,
        "no connection to {at} ({reason}); see the network and RHEVMInfo.URL",
    ),
)


def _session_id(cookies: list[str]) -> str:
    for cookie in cookies:
        name, _equals, rest = cookie.partition("=")
        if name.strip() == "JSESSIONID":
            return rest.partition(";")[0].strip()
    return ""
