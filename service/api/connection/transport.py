"""Transport of a connection: whole responses, joined writes, lingering close, paused reading."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

WHOLE_RESPONSE = "recblr.whole_response"  # extension of ASGI: a message with status, headers and body
MAX_WHOLE_BYTES = 64 * 1024  # of its body; `middleware.telemetry` sends a large one in pieces
EXTENSIONS: dict[str, dict[object, object]] = {WHOLE_RESPONSE: {}}
_REFUSED = b"HTTP/1.1 4"
_CLIENT_CLOSED: int = getattr(select, "POLLRDHUP", 0)  # of Linux


def _is_gone() -> bool:
    return False


class CollectingTransport:
    """Transport that joins all writes of one event loop iteration (decision 0036).

    Args:
        transport: The connection.
        loop: The event loop.
        close_gently: Asked by `close`. If it returns True, only the sending side is closed, and the protocol closes
            the rest: a client that is still sending could otherwise not read the answer.

    Attributes:
        is_closing: Returns whether nothing more can be sent. Asked four times a request, so it is the transport's.
        write_whole: Sends data that nothing is joined with; only while `parts` is empty.
        parts: Data of the next iteration.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close_gently: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._close_gently = close_gently
        self.is_closing: Callable[[], bool] = transport.is_closing
        self.write_whole: Callable[[bytes], None] = transport.write
        self.parts: list[bytes] = []
        self.refused = False  # whether a response of status 4xx was written; reset by the protocol

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data` in the next iteration of the event loop."""
        if not self.parts:
            self._loop.call_soon(self._flush)
            if data.startswith(_REFUSED):
                self.refused = True
        self.parts.append(data)

    def is_reset(self) -> bool:
        """Return whether the client has reset the connection.

        The event loop does not notice that while it does not read the socket.
        """
        return self._poll(0)

    def has_left(self) -> bool:
        """Return whether the client has closed its side.

        Such a client hardly waits for an answer.
        """
        return self._poll(_CLIENT_CLOSED)

    def _poll(self, events: int) -> bool:
        """Return whether one of `events` or a reset has happened."""
        watched = self._transport.get_extra_info("socket")
        if watched is None or watched.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(watched.fileno(), events)
        return bool(poll.poll(0))

    def let_go(self) -> None:
        """Forget the protocol, which would otherwise stay until a garbage collection."""
        self._close_gently = _is_gone

    def close(self) -> None:
        """Send the collected data, then close the connection."""
        if self.is_closing():
            return
        self._flush()
        if not self._transport.is_closing() and self._close_gently() and self._transport.can_write_eof():
            self.is_closing = _always
            self._transport.write_eof()
        else:
            self._transport.close()

    def close_both_sides(self) -> None:
        """Close the connection, also if the client is still sending."""
        self._flush()
        self.is_closing = _always
        self._transport.close()

    def _flush(self) -> None:
        data = b"".join(self.parts)
        self.parts.clear()
        if data and not self.is_closing():  # the client may have disconnected meanwhile
            self._transport.write(data)


def _always() -> bool:
    return True


class ResponseCycle(RequestResponseCycle):
    """One request and its response, for ASGI.

    The server's class takes a response in two messages, and searches each header by itself; it waits for a body that
    has arrived.

    Attributes:
        body_arrived: Whether all of the body has arrived, and nobody has received it.
    """

    body_arrived = False

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI's messages, and WHOLE_RESPONSE
        """Send a message of ASGI, or a whole response."""
        if message["type"] != WHOLE_RESPONSE:
            await super().send(message)
            return
        ordinary = self.keep_alive and not (self.flow.write_paused or self.disconnected or self.response_started)
        transport = cast("CollectingTransport", self.transport)
        if not ordinary or transport.parts or transport.is_closing():
            body = message.pop("body")
            await super().send(message | {"type": "http.response.start"})
            await super().send({"type": "http.response.body", "body": body})
            return
        parts = [STATUS_LINE[message["status"]]]
        headers = self.default_headers + message["headers"]
        names, values = zip(*headers, strict=True)
        if HEADER_RE.search(b"".join(names)) or HEADER_VALUE_RE.search(b"".join(values)):
            raise RuntimeError("invalid header")
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        transport.write_whole(b"".join((*parts, b"\r\n", message["body"])))
        self.message_event.set()
        self.on_response()

    async def receive(self) -> Any:  # noqa: ANN401 - ASGI's messages
        """Return the body, or the part that has arrived; wait for one."""
        if not self.body_arrived or self.disconnected or self.response_complete:
            return await super().receive()
        self.body_arrived = False
        if self.flow.read_paused:
            self.flow.resume_reading()
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}


class HeldFlow(FlowControl):
    """Flow control that can hold back reading, whatever the application asks for."""

    held = False

    def hold(self) -> None:
        """Stop reading until `release`."""
        self.held = True
        self.pause_reading()

    def release(self) -> None:
        """Read again, if held."""
        if self.held:
            self.held = False
            super().resume_reading()

    def resume_reading(self) -> None:
        """Read again, unless held."""
        if not self.held:
            super().resume_reading()
