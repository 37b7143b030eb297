"""Limits on request bodies: size, decompressed size, number of JSON values.

The limits are checked while a body arrives, so that an oversized body is never held in memory.
"""

from __future__ import annotations

import zlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.caller import BODY_BYTES
from service.api.error_responses import error_response
from service.api.middleware.received_messages import receive_again
from service.api.schemas.json_structure import MAX_VALUES, MAX_VALUES_OF_A_BATCH, is_too_complex, without_padding
from service.api.work_thread import MAX_INLINE_BYTES, in_work_thread
from service.core.errors import InvalidRequest, PayloadTooLarge, ServiceError

MAX_BODY_BYTES = 4 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_ITEM_BATCH = "/v1/items/batch"  # parsed in slices, so that its values need no bound
_TOO_LARGE = "the body is larger than 4 MiB; send less in one request"


class BodyLimit:
    """Middleware that reads the body, and refuses one that is too large.

    A body with `Content-Encoding: gzip` is decompressed. The application gets the body in one message.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length, codings = _declared(scope)
        if length == 0:
            await self._app(scope, receive, send)
            return
        try:
            if length is not None and length > MAX_BODY_BYTES:
                raise PayloadTooLarge(_TOO_LARGE)
            message, parts = await _read(receive, codings)
            scope[BODY_BYTES] = size = sum(map(len, parts))
            if size > MAX_INLINE_BYTES:
                message["body"] = await in_work_thread(_join_large, scope["path"], parts)
            elif parts:
                message["body"] = body = b"".join(parts)
                _check_values(scope["path"], body)
        except ServiceError as error:
            await error_response(error)(scope, receive, send)
            return
        if codings:
            headers = [each for each in scope["headers"] if each[0] not in (b"content-encoding", b"content-length")]
            scope = {**scope, "headers": [*headers, (b"content-length", b"%d" % len(message.get("body", b"")))]}
        await self._app(scope, receive_again([message], receive), send)


async def _read(receive: Receive, codings: list[bytes]) -> tuple[Message, list[bytes]]:
    """Return the last message, and the parts of the body."""
    inflate = _decompressor(codings)
    received, parts, size = 0, [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message, []
        part: bytes = message.get("body", b"")
        received += len(part)
        try:
            plain = part
            if inflate is not None:  # in the thread, because a few KiB may hold 4 MiB; zlib releases the GIL
                plain = await in_work_thread(inflate.decompress, part, MAX_BODY_BYTES - size + 1)
        except zlib.error:
            raise InvalidRequest("the body is not valid gzip; send it as Content-Encoding says") from None
        size += len(plain)
        if max(received, size) > MAX_BODY_BYTES:
            raise PayloadTooLarge(_TOO_LARGE)
        parts.append(plain)
        if not message.get("more_body"):
            break
    if inflate is not None and received and (not inflate.eof or inflate.unused_data):
        raise InvalidRequest("the gzip body is cut off or has more than one part; send one whole gzip stream")
    return {"type": "http.request", "body": b"", "more_body": False}, parts


def _join_large(path: str, parts: list[bytes]) -> bytes:
    """Check a large body; return it without the whitespace around the JSON."""
    body = b"".join(parts)
    _check_values(path, body)
    return without_padding(body)


def _check_values(path: str, body: bytes) -> None:
    if b"\0" in body:  # UTF-16, in which nothing can be counted; in UTF-8 it is not valid JSON
        raise InvalidRequest("the body could not be read; send JSON in UTF-8")
    if path == _ITEM_BATCH:
        return
    limit = MAX_VALUES_OF_A_BATCH if path.endswith("/batch") else MAX_VALUES
    if is_too_complex(body, limit):
        raise InvalidRequest("the body has too many fields or values, or too long ones; send less in one request")


def _decompressor(codings: list[bytes]) -> zlib._Decompress | None:
    if not codings:
        return None
    if codings != [b"gzip"]:
        raise InvalidRequest("the only Content-Encoding is gzip; send the body as it is, or compressed with gzip")
    return zlib.decompressobj(_GZIP)


def _declared(scope: Scope) -> tuple[int | None, list[bytes]]:
    """Return the declared length, None if chunked, and the content codings."""
    length: int | None = 0
    codings = []
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value) if value.isdigit() and len(value) < 16 else MAX_BODY_BYTES + 1
        elif name == b"transfer-encoding":
            length = None
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            codings.append(value.strip().lower())
    return length, codings
