"""Minimal HTTP client that leaves the CPU to the service."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import urlsplit

from tests.end_to_end.service import KEY

TIMEOUT_SECONDS = 60.0
_READ_ATTEMPTS, _READ_PAUSE_SECONDS = 200, 0.1


class Unanswered(Exception):
    """The connection was refused, or closed before the response.

    The request may or may not have been executed.
    """


class Refused(Unanswered):
    """Connection refused: the request was not sent."""


class Client:
    """One connection to the service, reopened when it is broken."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request and return the status and JSON of the response.

        Raises:
            Unanswered: the connection was refused or closed.
            TimeoutError: the service did not answer, which fails the test.
        """
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} /v1{path} HTTP/1.1\r\nHost: test\r\nX-API-Key: {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._send(head.encode() + content)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | EOFError) and not isinstance(error, TimeoutError):
                raise Unanswered from error
            raise

    async def read(self, path: str) -> tuple[int, Any]:
        """GET `path`; retry a 503, because a fault may have just ended."""
        for _ in range(_READ_ATTEMPTS):
            status, answer = await self.call("GET", path)
            if status != 503:
                break
            await asyncio.sleep(_READ_PAUSE_SECONDS)
        return status, answer

    async def _send(self, request: bytes) -> tuple[int, Any]:
        if self._streams is None or self._streams[0].at_eof():  # the service closes idle connections
            self.close()
            try:
                self._streams = await asyncio.open_connection(self._address.hostname, self._address.port)
            except ConnectionRefusedError as error:
                raise Refused from error
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = re.search(r"content-length: (\d+)", head)
        assert size is not None, head
        body = await reader.readexactly(int(size[1]))
        if "connection: close" in head:
            self.close()
        return int(head.split(" ", 2)[1]), json.loads(body)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
