"""HTTP/1.1 over TLS with keep-alive: small, cheap, and able to misbehave within a reply.

A thread per connection. The standard library's HTTP server spends most of its time in the e-mail
header parser, and load is measured through this one.
"""

from __future__ import annotations

import contextlib
import email.utils
import socket
import ssl
import struct
import threading
import zlib
from http import HTTPStatus
from typing import Callable, NamedTuple

from tests.doubles.manager.clock import Clock
from tests.doubles.manager.messages import Reply, Request

HEAD_LIMIT = 65536
_NO_BODY = frozenset({204, 304})


class _Head(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    keep_alive: bool


class _Closed(Exception):
    """The client is gone or talks nonsense."""


class Transport:
    """The listening socket and its connections.

    Args:
        handler: turns a request into a reply; called from many threads.
        context: the server's TLS context.
    """

    def __init__(
        self,
        handler: Callable[[Request], Reply],
        context: ssl.SSLContext,
        clock: Clock,
        address: tuple[str, int],
    ) -> None:
        self._handler = handler
        self._context = context
        self._clock = clock
        self._listener = socket.create_server(address, backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.failed_handshakes = 0
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, name="manager-accept", daemon=True)

    def start(self) -> None:
        self._acceptor.start()

    def close(self) -> None:
        """End every connection and thread."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(timeout=5)
        self._listener.close()
        with self._lock:
            connections, threads = list(self._open), list(self._threads)
        for connection in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in threads:
            thread.join(timeout=5)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                raw, _ = self._listener.accept()
            except OSError:
                if self._closing.is_set():
                    return
                continue
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(raw,), daemon=True)
            with self._lock:
                self.connections += 1
                self._threads.add(thread)
                self._open.add(raw)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        connection = raw
        try:
            connection = self._secured(raw)
            _Conversation(connection, self._handler, self._clock).run()
        except (OSError, _Closed, ValueError):
            pass  # the client went away, or the server closes
        finally:
            with self._lock:
                self._open.discard(connection)
                self._threads.discard(threading.current_thread())
            connection.close()
            raw.close()

    def _secured(self, raw: socket.socket) -> ssl.SSLSocket:
        raw.settimeout(30)
        try:
            connection = self._context.wrap_socket(raw, server_side=True)
        except OSError:
            self.failed_handshakes += 1
            raise
        finally:
            with self._lock:
                self._open.discard(raw)
        connection.settimeout(None)
        with self._lock:
            self._open.add(connection)
        return connection


class _Conversation:
    """The requests of one connection, one after the other."""

    def __init__(
        self, connection: ssl.SSLSocket, handler: Callable[[Request], Reply], clock: Clock
    ) -> None:
        self._connection = connection
        self._handler = handler
        self._clock = clock
        self._buffer = b""

    def run(self) -> None:
        alive = True
        while alive:
            head = self._head()
            if head is None:
                return
            if "100-continue" in head.headers.get("expect", "").lower():
                self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            request = Request(head.method, head.target, head.headers, self._body(head))
            reply = self._handler(request)
            alive = self._deliver(request, reply, keep_alive=head.keep_alive)

    # Reading

    def _more(self) -> None:
        received = self._connection.recv(65536)
        if not received:
            raise _Closed
        self._buffer += received

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if len(self._buffer) > HEAD_LIMIT:
                raise _Closed
            self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _head(self) -> _Head | None:
        """The next request's first lines; None at an orderly end."""
        if not self._buffer:
            self._buffer = self._connection.recv(65536)
            if not self._buffer:
                return None
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[1].startswith("/"):
            self._connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            raise _Closed
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        wish = headers.get("connection", "").lower()
        keep_alive = "close" not in wish if words[2] == "HTTP/1.1" else "keep-alive" in wish
        return _Head(words[0], words[1], headers, keep_alive)

    def _body(self, head: _Head) -> bytes:
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        return self._exactly(int(head.headers.get("content-length") or "0"))

    def _chunks(self) -> bytes:
        chunks: list[bytes] = []
        while True:
            size = int(self._until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                while self._until(b"\r\n"):
                    pass
                return b"".join(chunks)
            chunks.append(self._exactly(size))
            self._exactly(2)

    # Writing

    def _deliver(self, request: Request, reply: Reply, *, keep_alive: bool) -> bool:
        """Send the reply as it is to be sent; whether the connection goes on."""
        if reply.ready_at is not None:
            self._clock.wait_until(reply.ready_at)
        if reply.delivery == "hang":
            while self._clock.pause(3600):
                pass
            return False
        if reply.delivery == "nothing":
            return False
        head, body = _encoded(request, reply, keep_alive=keep_alive)
        if reply.delivery == "cut":
            self._cut(head + body[: len(body) // 2] if body else b"")
            return False
        if reply.delivery == "drip":
            self._drip(head, body, reply.pause_s)
        else:
            if reply.pause_s and not self._clock.pause(reply.pause_s):
                return False
            self._connection.sendall(head + body)
        return keep_alive

    def _drip(self, head: bytes, body: bytes, pause_s: float) -> None:
        self._connection.sendall(head)
        for at in range(len(body)):
            self._connection.sendall(body[at : at + 1])
            if not self._clock.pause(pause_s):
                raise _Closed

    def _cut(self, part: bytes) -> None:
        """Send part, then a TCP reset instead of an orderly end."""
        if part:
            self._connection.sendall(part)
        linger = struct.pack("ii", 1, 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def _encoded(request: Request, reply: Reply, *, keep_alive: bool) -> tuple[bytes, bytes]:
    """Head and body, compressed where the proxy in front of an engine would."""
    body = reply.body
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"Date: {email.utils.formatdate(usegmt=True)}",
        "Server: Apache",
    ]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if reply.content_type:
        lines.append(f"Content-Type: {reply.content_type}")
    if body and reply.delivery == "whole" and _compresses(request, reply):
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        body = packer.compress(body) + packer.flush()
        lines += ["Content-Encoding: gzip", "Vary: Accept-Encoding"]
    if reply.status not in _NO_BODY:
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: Keep-Alive" if keep_alive else "Connection: close")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head, b"" if request.method == "HEAD" else body


def _compresses(request: Request, reply: Reply) -> bool:
    takes = "gzip" in request.headers.get("accept-encoding", "")
    return takes and ("xml" in reply.content_type or "json" in reply.content_type)
