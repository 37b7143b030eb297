"""uvicorn's HTTP protocol with limited request heads and joined writes.

uvicorn's httptools parser keeps a request head of any size in memory (decision 0031), and it writes head and body of
a response with separate system calls (decision 0036).
"""

from __future__ import annotations

import asyncio
import json
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024

_TOO_LARGE_BODY = json.dumps(
    {"error": {"code": "headers_too_large", "message": "the path and headers are larger than 64 KiB; send less"}}
).encode()
_TOO_LARGE_RESPONSE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b"x-content-type-options: nosniff\r\ncontent-length: %d\r\n\r\n%s" % (len(_TOO_LARGE_BODY), _TOO_LARGE_BODY)
)


class HttpProtocol(HttpToolsProtocol):
    """Protocol of one client connection; pass the class to uvicorn as `http`.

    A head that is still incomplete after `MAX_HEAD_BYTES` is answered 431 and the connection is closed. The limit is
    checked once per read from the socket, so a head may exceed it by one read.
    """

    _head_bytes = 0
    _reading_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Collect the writes to this connection."""
        super().connection_made(cast(asyncio.Transport, _CollectingTransport(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
        """Parse `data`, unless the request's head is already too large."""
        if self._reading_head:
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.write(_TOO_LARGE_RESPONSE)
                self.transport.close()
                return
            self._head_bytes += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Stop counting: the body follows, which `middleware.body_limit` limits."""
        self._reading_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Start counting the next request's head."""
        self._reading_head, self._head_bytes = True, 0
        super().on_message_complete()


class _CollectingTransport:
    """Transport that joins all writes of one event loop iteration."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data` in the next iteration of the event loop."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Send the collected data, then close the connection."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        data = b"".join(self._parts)
        self._parts.clear()
        if data and not self.is_closing():  # the client may have disconnected meanwhile
            self._transport.write(data)
