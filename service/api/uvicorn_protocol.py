"""A bound on a request's head, kept while it arrives. uvicorn's fast parser has none, and keeps what it is sent."""

from __future__ import annotations

import asyncio
import json
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 1024

_BODY = json.dumps(
    {"error": {"code": "headers_too_large", "message": "the path and headers are larger than 64 KiB; send less"}}
).encode()
_ANSWER = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b"x-content-type-options: nosniff\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class BoundedHeads(HttpToolsProtocol):
    """Answers 431 and closes once more than `LARGEST_HEAD` and one read from the socket came without a head's end."""

    _received = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        """Hand `data` on to the parser, unless the head that it belongs to is too large already."""
        if self._in_head:
            if self._received > LARGEST_HEAD:
                self.transport.write(_ANSWER)
                self.transport.close()
                return
            self._received += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """What comes now is a body, which `limits.py` bounds."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is the head of another request."""
        self._in_head, self._received = True, 0
        super().on_message_complete()


class OneWriteProtocol(BoundedHeads):
    """What uvicorn is given as its `http` implementation: bounded heads in, whole answers out."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(cast(asyncio.Transport, _Joining(transport, self.loop)))


class _Joining:
    """A transport that collects writes until the event loop's next turn; all else is the transport's."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data` soon."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Close when all that was written is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        data = b"".join(self._parts)
        self._parts.clear()
        if data and not self._transport.is_closing():  # the client may have gone in the meantime
            self._transport.write(data)
