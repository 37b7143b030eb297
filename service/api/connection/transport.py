"""Transport of a connection: joined writes, lingering close, paused reading."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

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
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close_gently: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._close_gently = close_gently
        self.is_closing: Callable[[], bool] = transport.is_closing
        self._parts: list[bytes] = []
        self.refused = False  # whether a response of status 4xx was written; reset by the protocol

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data` in the next iteration of the event loop."""
        if not self._parts:
            self._loop.call_soon(self._flush)
            if data.startswith(_REFUSED):
                self.refused = True
        self._parts.append(data)

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
        data = b"".join(self._parts)
        self._parts.clear()
        if data and not self.is_closing():  # the client may have disconnected meanwhile
            self._transport.write(data)


def _always() -> bool:
    return True


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
