"""Connections that there is no room for."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from starlette.types import Receive, Scope, Send

from service.api.connection import limits
from service.api.connection.limits import MAX_WITHOUT_ROOM
from service.api.connection.refusals import CORS_STATE
from tests.attack.raw_server import FAST, RawServer, head, read_answer, read_error

ROOM = 3
ORIGIN = "https://shop.example"
CORS = b"access-control-allow-origin: https://shop.example\r\nvary: Origin\r\n"


class SlowApp:
    """Application that answers `/wait` when the test ends."""

    def __init__(self) -> None:
        self.waiting = 0
        self.ended = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"][CORS_STATE] = {ORIGIN.encode(): CORS}
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.waiting += 1
        if scope["path"] == "/wait":
            await asyncio.to_thread(self.ended.wait)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """A server whose places are all taken by requests in work."""
    monkeypatch.setattr(limits, "max_connections", lambda: ROOM)
    app = SlowApp()
    with RawServer(FAST, app) as server, ExitStack() as closing:
        for number in range(ROOM):
            client = closing.enter_context(server.connect())
            client.sendall(head("GET", "/wait"))
            while app.waiting <= number:
                client.settimeout(0.01)
                with pytest.raises(TimeoutError):
                    client.recv(1)
        try:
            yield server
        finally:
            app.ended.set()


def refused(client: socket.socket) -> bytes:
    status, answer_head, body = read_answer(client)
    assert (status, json.loads(body)["error"]["code"]) == (503, "too_many_connections")
    assert client.recv(1) == b""
    return answer_head.lower()


def test_refused_connection_gets_the_headers_of_its_origin(full: RawServer) -> None:
    for _ in range(3 * MAX_WITHOUT_ROOM):  # the places of refused connections are free again
        with full.connect() as client:
            message = head("POST", "/v1/events", f"origin: {ORIGIN}", "content-length: 2") + b"{}"
            client.sendall(message[:20])
            client.sendall(message[20:])
            assert CORS.lower() in refused(client)
    with full.connect() as client:
        client.sendall(head("GET", "/", "origin: https://evil.example"))
        assert b"access-control" not in refused(client)


def test_refused_connection_that_sends_nothing_is_closed_soon(full: RawServer) -> None:
    with full.connect() as client:
        assert b"access-control" not in refused(client)


def test_few_refused_connections_wait_for_their_heads(full: RawServer) -> None:
    with ExitStack() as closing:
        clients = [closing.enter_context(full.connect()) for _ in range(5 * MAX_WITHOUT_ROOM)]
        for client in clients[MAX_WITHOUT_ROOM:]:
            assert read_error(client) == (503, "too_many_connections")  # at once
        assert len(full.server.server_state.connections) <= ROOM + MAX_WITHOUT_ROOM
        for client in clients[:MAX_WITHOUT_ROOM]:
            refused(client)
