"""A whole response in one message, and a body that has arrived."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.api.connection.transport import WHOLE_RESPONSE, CollectingTransport, HeldFlow, ResponseCycle

pytestmark = pytest.mark.anyio

LENGTH = (b"content-length", b"2")


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the data."""
        self.written += bytes(data)

    def is_closing(self) -> bool:
        """Return whether the connection is closed."""
        return self.closed

    def close(self) -> None:
        """Close the connection."""
        self.closed = True

    def can_write_eof(self) -> bool:
        """Return False."""
        return False

    def pause_reading(self) -> None:
        """Note that the socket is not read."""
        self.paused = True

    def resume_reading(self) -> None:
        """Note that the socket is read."""
        self.paused = False


class Request:
    """One request on a connection."""

    def __init__(self, *, keep_alive: bool = True, expects_continue: bool = False) -> None:
        self.transport = FakeTransport()
        self.writes = CollectingTransport(self.transport, asyncio.get_running_loop(), lambda: False)
        self.flow = HeldFlow(self.transport)
        self.completed = 0
        self.cycle = ResponseCycle(
            scope={"type": "http", "method": "POST"},  # type: ignore[typeddict-item]
            transport=self.writes,  # type: ignore[arg-type]
            flow=self.flow,
            logger=None,  # type: ignore[arg-type]
            access_logger=None,  # type: ignore[arg-type]
            access_log=False,
            default_headers=[(b"date", b"now")],
            message_event=asyncio.Event(),
            expect_100_continue=expects_continue,
            keep_alive=keep_alive,
            on_response=self.on_response,
        )

    def on_response(self) -> None:
        """Count the complete responses."""
        self.completed += 1

    async def send_whole(self, *headers: tuple[bytes, bytes]) -> None:
        """Send `{}` in one message."""
        message = {"type": WHOLE_RESPONSE, "status": 200, "headers": [LENGTH, *headers], "body": b"{}"}
        await self.cycle.send(message)


RESPONSE = b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\n{}"


async def test_whole_response_is_what_two_messages_send() -> None:
    whole, parts = Request(), Request()
    await whole.send_whole()
    await parts.cycle.send({"type": "http.response.start", "status": 200, "headers": [LENGTH]})
    await parts.cycle.send({"type": "http.response.body", "body": b"{}"})
    assert whole.transport.written == RESPONSE  # at once
    await asyncio.sleep(0)
    assert parts.transport.written == RESPONSE
    assert (whole.completed, parts.completed) == (1, 1)
    assert whole.cycle.response_complete
    assert (await whole.cycle.receive()) == {"type": "http.disconnect"}


async def test_whole_response_on_a_connection_that_ends_says_so_and_closes() -> None:
    request = Request(keep_alive=False)
    await request.send_whole()
    assert request.transport.written.endswith(b"\r\nconnection: close\r\n\r\n{}")
    assert request.transport.closed


async def test_whole_response_follows_what_was_written_before() -> None:
    request = Request()
    request.writes.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    await request.send_whole()
    await asyncio.sleep(0)
    assert request.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n" + RESPONSE


async def test_whole_response_waits_while_the_client_does_not_read() -> None:
    request = Request()
    request.flow.pause_writing()
    sending = asyncio.create_task(request.send_whole())
    await asyncio.sleep(0)
    assert request.transport.written == b""
    request.flow.resume_writing()
    await sending
    await asyncio.sleep(0)
    assert request.transport.written == RESPONSE


async def test_whole_response_to_a_client_that_left_is_dropped() -> None:
    request = Request()
    request.cycle.disconnected = True
    await request.send_whole()
    await asyncio.sleep(0)
    assert request.transport.written == b""


@pytest.mark.parametrize("header", [(b"x-a", b"1\r\nset-cookie: b"), (b"x-a\r\n", b"1"), (b"x a", b"1")])
async def test_whole_response_with_a_header_that_could_hold_another_is_refused(header: tuple[bytes, bytes]) -> None:
    request = Request()
    with pytest.raises(RuntimeError, match="invalid header"):
        await request.send_whole(header)
    assert request.transport.written == b""
    assert not request.cycle.response_started


async def test_arrived_body_is_received_once_and_then_a_disconnect_is_awaited() -> None:
    request = Request()
    request.cycle.body += b"[1]"
    request.cycle.more_body, request.cycle.body_arrived = False, True
    request.flow.pause_reading()
    received: Any = await request.cycle.receive()
    assert received == {"type": "http.request", "body": b"[1]", "more_body": False}
    assert not request.transport.paused
    waiting = asyncio.create_task(request.cycle.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    await request.send_whole()
    assert await waiting == {"type": "http.disconnect"}
