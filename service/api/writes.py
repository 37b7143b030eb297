"""uvicorn's HTTP protocol, with the head and the body of an answer in one write.

uvicorn writes them apart, and uvloop hands each write to the kernel at once: two system calls for every answer, and
a client that is woken twice. Here what is written within one turn of the event loop goes out together.
"""

from __future__ import annotations

import asyncio
from typing import cast

from service.api.protocol import BoundedHeads


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
