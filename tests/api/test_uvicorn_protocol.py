"""An answer leaves in one write, and a connection that closes neither loses nor gets any."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.api.uvicorn_protocol import HttpProtocol


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """A body in as many parts as the path says, with a turn of the loop between them if it says so too."""
    _, parts, pause = scope["path"].split("/")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for left in reversed(range(int(parts))):
        await send({"type": "http.response.body", "body": b"part", "more_body": left > 0})
        if pause:
            await asyncio.sleep(0.05)


class Transport(asyncio.Transport):
    """Keeps what it was given, write by write."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def talk(transport: Transport, requests: bytes, wait: float = 0.2) -> HttpProtocol:
    config = uvicorn.Config(answer, http=HttpProtocol, log_config=None, lifespan="off")
    config.load()
    protocol = HttpProtocol(config, uvicorn.server.ServerState(), {})
    protocol.connection_made(transport)
    protocol.data_received(requests)
    await asyncio.sleep(wait)
    return protocol


@pytest.mark.parametrize(("path", "writes"), [("1/", 1), ("5/", 1), ("3/pause", 3)])
def test_what_is_written_in_one_turn_leaves_in_one_write(path: str, writes: int) -> None:
    transport = Transport()
    asyncio.run(talk(transport, f"GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()))
    assert len(transport.written) == writes
    assert transport.written[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"".join(transport.written).count(b"part") == int(path[0])


def test_an_answer_before_a_close_is_sent() -> None:
    transport = Transport()
    asyncio.run(talk(transport, b"GET /2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    assert transport.closed
    assert b"".join(transport.written).count(b"part") == 2


def test_nothing_is_written_to_a_connection_that_is_gone() -> None:
    async def scenario() -> None:
        transport = Transport()
        protocol = await talk(transport, b"GET /1/ HTTP/1.1\r\nhost: x\r\n\r\n", wait=0)
        protocol.transport.write(b"late")
        transport.closed = True
        await asyncio.sleep(0.05)
        assert transport.written == []

    asyncio.run(scenario())
