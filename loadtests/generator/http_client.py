"""HTTP/1.1 over one kept-alive socket at a time: requests as bytes made beforehand, answers parsed by httptools."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import httptools

RECEIVE = 1 << 16

# Where a request's body has this text, each sending puts a number of its own there, so that ids never repeat.
SERIAL = b"@@@@@@@@@@@@"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent again and again. `kind` is the name under which it is counted."""

    kind: str
    raw: bytes
    numbered: bool

    def numbered_with(self, serial: int) -> bytes:
        """The bytes to send as the run's request number `serial`."""
        return self.raw.replace(SERIAL, b"%012d" % serial) if self.numbered else self.raw


def make_request(
    kind: str, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Request:
    """A request with `body` as JSON, None for none."""
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    raw = "\r\n".join([*lines, "", ""]).encode() + content
    return Request(kind, raw, SERIAL in raw)


class Connection:
    """A socket with at most one request under way. `due`, `kind` and `sent` belong to whoever uses it."""

    __slots__ = ("_complete", "_keep", "_parser", "body", "due", "kind", "sent", "socket", "status")

    def __init__(self, port: int, *, keep_body: bool = False) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = self.sent = 0.0
        self.kind = 0
        self.status = 0
        self.body = b""
        self._keep = keep_body
        self._complete = False
        self._parser = httptools.HttpResponseParser(self)

    def start(self, raw: bytes) -> None:
        """Send a request. It fits the socket's buffer, so this does not wait."""
        self._complete = False
        self.status = 0
        self.body = b""
        self.socket.sendall(raw)

    def receive(self) -> bool:
        """Read what has come; whether the answer is complete. Raises OSError when the server hung up."""
        data = self.socket.recv(RECEIVE)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ConnectionError(f"not an HTTP answer: {error}") from None
        return self._complete

    def ask(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request and wait for its status and, with `keep_body`, its body."""
        self.start(raw)
        while not self.receive():
            pass
        return self.status, self.body

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if self._keep:
            self.body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._complete = True
        self.status = self._parser.get_status_code()
