"""Server that reads what arrives first, answers 400 and closes the connection.

    python -m loadtests.environment.empty_server PORT

An attack on it costs what sending costs, and next to nothing besides: the control of the scenario `attack`. It runs
only while a core is free, as the attackers do.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from loadtests.environment.processes import run_when_idle

READY_PATH = "/readyz"
_REFUSAL = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_READY = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _Refusing(asyncio.Protocol):
    """Connection that gets one answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(_READY if data.startswith(b"GET " + READY_PATH.encode()) else _REFUSAL)
            self._transport.close()


async def serve(port: int) -> None:
    """Serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(_Refusing, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    run_when_idle()
    uvloop.run(serve(int(sys.argv[1])))
