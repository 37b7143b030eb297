"""Server with the HTTP protocol class that notes its requests."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from types import TracebackType

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.connection.limits import Timeouts
from service.api.uvicorn_protocol import HttpProtocol

FAST = Timeouts(head=1.0, body=1.0, min_bytes_per_second=1_000_000, linger=1.0)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)

Seen = tuple[str, str, list[tuple[bytes, bytes]], bytes]


class RawServer:
    """Context manager of a server in a thread.

    With `app` it serves that application. Otherwise: `/unread` answers without reading the body, `/slow` after 0.3 s,
    `/large` with 4 MB, `/refused` with 404; other paths read the body.
    """

    def __init__(self, timeouts: Timeouts = Timeouts(), app: ASGIApp | None = None) -> None:  # noqa: B008 - frozen
        self.seen: list[Seen] = []
        protocol = type("TestedProtocol", (HttpProtocol,), {"timeouts": timeouts})
        config = uvicorn.Config(
            app or self._answer,
            port=0,
            http=protocol,
            ws="none",
            log_config=None,
            lifespan="off" if app is None else "on",
            interface="asgi3",
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> RawServer:
        self._thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.should_exit = True
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while scope["path"] != "/unread":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/slow":
            await asyncio.sleep(0.3)
        self.seen.append((scope["method"], scope["path"], scope["headers"], body))
        out = b"x" * 4_000_000 if scope["path"] == "/large" else b"%d" % len(body)
        headers = [(b"content-length", b"%d" % len(out))]
        status = 404 if scope["path"] == "/refused" else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": out})


def read_answer(client: socket.socket) -> tuple[int, bytes, bytes]:
    """Read one response with a Content-Length; return status, head and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = client.recv(1)
        assert part, f"closed after {received!r}"
        received += part
    match = _LENGTH.search(received)
    assert match is not None
    body = b""
    while len(body) < int(match[1]):
        body += client.recv(int(match[1]) - len(body))
    return int(received.split()[1]), received, body


def read_error(client: socket.socket) -> tuple[int, str]:
    """Read an error response and the connection's end; return status and code."""
    status, head, body = read_answer(client)
    assert b"connection: close" in head
    assert client.recv(1) == b""
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message"}
    return status, error["code"]


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "host: x", *lines, "", "")).encode()
