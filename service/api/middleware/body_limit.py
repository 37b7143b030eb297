"""Limits on request bodies: size, decompressed size, number of JSON values.

The limits are checked while a body arrives, so that an oversized body is never held in memory. A body with too many
values is refused as soon as that many have arrived.
"""

from __future__ import annotations

import zlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import request_costs
from service.api.caller import ANONYMOUS_CALLER, BODY_BYTES, CALLER, Caller
from service.api.error_responses import error_response
from service.api.middleware.received_messages import receive_again
from service.api.schemas.json_structure import (
    MAX_VALUES,
    MAX_VALUES_OF_A_BATCH,
    SLICE_BYTES,
    JsonCounts,
    is_too_complex,
    without_padding,
)
from service.api.work_thread import MAX_INLINE_BYTES, in_work_thread
from service.core.errors import InvalidRequest, PayloadTooLarge, ServiceError

MAX_BODY_BYTES = 4 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS
# Bound of the values by method and path; PUT /v1/items/batch is about one item. A batch of items needs none, because
# it is parsed in slices.
_MAX_VALUES = {("POST", "/v1/events/batch"): MAX_VALUES_OF_A_BATCH, ("POST", "/v1/items/batch"): None}
_TOO_LARGE = "the body is larger than 4 MiB; send less in one request"
_TOO_COMPLEX = "the body has too many fields or values, or too long ones; send less in one request"


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
            max_values = _MAX_VALUES.get((scope["method"], scope["path"]), MAX_VALUES)
            body = _Body(max_values, codings, scope.get(CALLER, ANONYMOUS_CALLER))
            message = await body.read(receive)
            scope[BODY_BYTES] = body.size
        except ServiceError as error:
            await error_response(error)(scope, receive, send)
            return
        if codings:
            headers = [each for each in scope["headers"] if each[0] not in (b"content-encoding", b"content-length")]
            scope = {**scope, "headers": [*headers, (b"content-length", b"%d" % len(message.get("body", b"")))]}
        await self._app(scope, receive_again([message], receive), send)


class _Body:
    """Body of one request, as it arrives."""

    def __init__(self, max_values: int | None, codings: list[bytes], caller: Caller) -> None:
        self._caller = caller
        self._inflate = _decompressor(codings)
        self._max_values = max_values
        self._counts = None if max_values is None else JsonCounts(max_values)
        self._parts: list[bytes] = []
        self._checked = 0  # parts
        self._received = self.size = self._unchecked = 0  # bytes

    async def read(self, receive: Receive) -> Message:
        """Return one message with the whole body, or the disconnection.

        The caller is charged for what was read.
        """
        try:
            return await self._read(receive)
        finally:
            self._caller.charge(request_costs.of_body(max(self._received, self.size)))

    async def _read(self, receive: Receive) -> Message:
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            part: bytes = message.get("body", b"")
            self._received += len(part)
            if self._received > MAX_BODY_BYTES:
                raise PayloadTooLarge(_TOO_LARGE)
            if self._inflate is not None:
                # The rest in the thread, because a few KiB may hold 4 MiB.
                rest = part if self.size else self._decompress_slice(self._inflate, part)
                if rest is not None:
                    await in_work_thread(self._decompress, self._inflate, rest)
            else:
                self._add(part)
                is_large = self.size > MAX_INLINE_BYTES and self._unchecked >= SLICE_BYTES
                if is_large and message.get("more_body"):
                    await in_work_thread(self._check_new_parts)
            if not message.get("more_body"):
                break
        inflate = self._inflate
        if inflate is not None and self._received and (not inflate.eof or inflate.unused_data):
            raise InvalidRequest("the gzip body is cut off or has more than one part; send one whole gzip stream")
        if self.size > MAX_INLINE_BYTES:
            body = await in_work_thread(self._join_large)
        else:
            body = b"".join(self._parts)
            _check_text(body)
            if self._max_values is not None and is_too_complex(body, self._max_values):
                raise InvalidRequest(_TOO_COMPLEX)
        return {"type": "http.request", "body": body, "more_body": False}

    def _add(self, part: bytes) -> None:
        self.size += len(part)
        if self.size > MAX_BODY_BYTES:
            raise PayloadTooLarge(_TOO_LARGE)
        self._unchecked += len(part)
        self._parts.append(part)

    def _decompress(self, inflate: zlib._Decompress, part: bytes) -> None:
        """Decompress a part in slices; stop at the first one too many."""
        rest: bytes | None = part
        while rest is not None:
            rest = self._decompress_slice(inflate, rest)

    def _decompress_slice(self, inflate: zlib._Decompress, part: bytes) -> bytes | None:
        """Decompress a slice; return the rest of `part`, None at its end."""
        try:
            plain = inflate.decompress(part, SLICE_BYTES)
        except zlib.error:
            raise InvalidRequest("the body is not valid gzip; send it as Content-Encoding says") from None
        self._add(plain)
        if self._unchecked >= SLICE_BYTES:
            self._check_new_parts()
        return None if len(plain) < SLICE_BYTES and not inflate.unconsumed_tail else inflate.unconsumed_tail

    def _check_new_parts(self) -> None:
        for part in self._parts[self._checked :]:
            _check_text(part)
            if self._counts is not None and self._counts.add(part):
                raise InvalidRequest(_TOO_COMPLEX)
        self._checked, self._unchecked = len(self._parts), 0

    def _join_large(self) -> bytes:
        """Check the rest; return the body without its padding."""
        self._check_new_parts()
        return without_padding(b"".join(self._parts))


def _check_text(part: bytes) -> None:
    if b"\0" in part:  # UTF-16, in which nothing can be counted; in UTF-8 it is not valid JSON
        raise InvalidRequest("the body could not be read; send JSON in UTF-8")


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
