"""uvicorn protocol: joined writes, and a limit on request heads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.api.uvicorn_protocol import MAX_HEAD_BYTES, HttpProtocol


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a body in parts.

    The path says how many, and whether to pause between them.
    """
    _, parts, pause = scope["path"].split("/")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for left in reversed(range(int(parts))):
        await send({"type": "http.response.body", "body": b"part", "more_body": left > 0})
        if pause:
            await asyncio.sleep(0.05)


class Transport(asyncio.Transport):
    """Transport that records each write."""

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

    def can_write_eof(self) -> bool:
        return False


async def request(transport: Transport, requests: bytes, wait: float = 0.2) -> HttpProtocol:
    config = uvicorn.Config(answer, http=HttpProtocol, log_config=None, lifespan="off")
    config.load()
    protocol = HttpProtocol(config, uvicorn.server.ServerState(), {})
    protocol.connection_made(transport)
    protocol.data_received(requests)
    await asyncio.sleep(wait)
    return protocol


@pytest.mark.parametrize(("path", "writes"), [("1/", 1), ("5/", 1), ("3/pause", 3)])
def test_parts_of_one_loop_iteration_are_sent_in_one_write(path: str, writes: int) -> None:
    transport = Transport()
    asyncio.run(request(transport, f"GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()))
    assert len(transport.written) == writes
    assert transport.written[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"".join(transport.written).count(b"part") == int(path[0])


def test_response_is_sent_before_connection_closes() -> None:
    transport = Transport()
    asyncio.run(request(transport, b"GET /2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    assert transport.closed
    assert b"".join(transport.written).count(b"part") == 2


def test_nothing_is_written_to_closed_connection() -> None:
    async def scenario() -> None:
        transport = Transport()
        protocol = await request(transport, b"GET /1/ HTTP/1.1\r\nhost: x\r\n\r\n", wait=0)
        protocol.transport.write(b"late")
        transport.closed = True
        await asyncio.sleep(0.05)
        assert transport.written == []

    asyncio.run(scenario())


@pytest.mark.parametrize("start", [b"GET /1/", b"GET /1/ HTTP/1.1\r\nx-large: "])
def test_head_beyond_limit_is_431_and_closes_connection(start: bytes) -> None:
    async def scenario() -> None:
        transport = Transport()
        protocol = await request(transport, start + b"a" * (MAX_HEAD_BYTES - len(start) - 1), wait=0)
        assert transport.written == []
        protocol.data_received(b"a")
        await asyncio.sleep(0.05)
        assert transport.closed
        assert b"".join(transport.written).startswith(b"HTTP/1.1 431 ")

    asyncio.run(scenario())


def test_limit_counts_each_head_of_a_connection_and_no_body() -> None:
    async def scenario() -> None:
        transport = Transport()
        head = b"POST /1/ HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\nx: %s\r\n\r\n"
        large = head % (2 * MAX_HEAD_BYTES, b"a" * (MAX_HEAD_BYTES // 2))
        protocol = await request(transport, large, wait=0)
        for _ in range(3):
            protocol.data_received(b"b" * 2 * MAX_HEAD_BYTES)
            await asyncio.sleep(0.05)
            protocol.data_received(large)
        assert b"".join(transport.written).count(b"HTTP/1.1 200 OK") == 3
        protocol.connection_lost(None)

    asyncio.run(scenario())
