"""Minimal HTTP/1.1 client: requests prepared as bytes, responses parsed by httptools."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httptools

_RECEIVE_BYTES = 1 << 16
_CONNECT_TIMEOUT_SECONDS = 5

# Placeholder in a request's body or path. Every send replaces it by a new number, so that ids never repeat.
SERIAL = b"@@@@@@@@@@@@"


class RequestError(OSError):
    """A request that must succeed got a status other than 200."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prepared request; `kind` names its group in the statistics."""

    kind: str
    raw: bytes
    has_serial: bool

    def with_serial(self, serial: int) -> bytes:
        """Return the bytes to send, with `serial` instead of the placeholder."""
        return self.raw.replace(SERIAL, b"%012d" % serial) if self.has_serial else self.raw


def make_request(
    kind: str, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Request:
    """Prepare a request.

    Args:
        kind: group in the statistics.
        method: HTTP method.
        path: path with query string.
        body: value to send as JSON, or None for no body.
        headers: headers to add.
    """
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    raw = "\r\n".join([*lines, "", ""]).encode() + content
    return Request(kind, raw, SERIAL in raw)


def request_json(
    port: int,
    method: str,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float = 120.0,
) -> Any:  # noqa: ANN401 - JSON of any shape
    """Send one request and return the JSON of its response.

    Raises:
        RequestError: the status was not 200.
        OSError: there was no response in time.
    """
    connection = Connection(port, keep_body=True)
    connection.socket.settimeout(timeout_seconds)
    try:
        status, content = connection.request(make_request("", method, path, body, headers).raw)
    finally:
        connection.close()
    if status != 200:
        raise RequestError(f"{method} {path}: {status} {content[:500].decode(errors='replace')}")
    return json.loads(content)


class Connection:
    """A keep-alive connection with at most one request in flight.

    `due`, `sent` and `kind` are for the load generator: times of the request in flight, and its group.
    """

    __slots__ = ("_complete", "_keep_body", "_parser", "body", "due", "kind", "sent", "socket", "status")

    def __init__(self, port: int, *, keep_body: bool = False) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = self.sent = 0.0
        self.kind = 0
        self.status = 0
        self.body = b""
        self._keep_body = keep_body
        self._complete = False
        self._parser = httptools.HttpResponseParser(self)

    def send(self, raw: bytes) -> None:
        """Send a request, which fits the socket's buffer and does not block."""
        self._complete = False
        self.status = 0
        self.body = b""
        self.socket.sendall(raw)

    def receive(self) -> bool:
        """Read from the socket; return True if the response is complete.

        Raises:
            ConnectionError: the server closed the connection, or sent something other than HTTP.
        """
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ConnectionError(f"invalid HTTP response: {error}") from None
        return self._complete

    def request(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request and wait for its status and body.

        The body is empty without `keep_body`.
        """
        self.send(raw)
        while not self.receive():
            pass
        return self.status, self.body

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def on_body(self, body: bytes) -> None:
        """Collect a part of the body (callback of the parser)."""
        if self._keep_body:
            self.body += body

    def on_message_complete(self) -> None:
        """Record the status of a complete response (callback of the parser)."""
        self._complete = True
        self.status = self._parser.get_status_code()
