"""Framing of request bodies: where a body ends (RFC 9112, section 6)."""

from __future__ import annotations

import re
from typing import Protocol

MAX_TRAILER_BYTES = 8 * 1024
MAX_LINE_BYTES = 1024  # the line before a chunk, with its extensions
# Lines and chunks in one `take`, so that tiny chunks do not hold the event loop: some 0.02 ms on arrival, for as many
# connections as there are, and 0.1 ms in a slot.
STEPS_ON_ARRIVAL, STEPS_IN_SLOT = 48, 256
# Bytes that a chunked body may spend on lines. Chunks of one byte need 5 bytes for each byte of the body, and 4 MiB
# of them would take seconds to read.
MAX_FRAMING_BYTES, MAX_FRAMING_FACTOR = 16 * 1024, 2

_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


class FramingError(Exception):
    """A chunked body that does not follow RFC 9112."""


class BodyFraming(Protocol):
    """Body of one request, taken from what arrives on its connection."""

    done: bool
    starved: bool  # nothing more can be taken until more bytes arrive

    def take(self, received: bytes | bytearray, max_steps: int) -> tuple[bytes, int]:
        """Return the next part of the body, and its length as received."""


class LengthFraming:
    """Body whose length a Content-Length header declares."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.starved = True
        self.done = length == 0

    def take(self, received: bytes | bytearray, max_steps: int) -> tuple[bytes, int]:
        """Return the next part of the body, and its length."""
        part = bytes(received if len(received) <= self._left else received[: self._left])
        self._left -= len(part)
        self.done = self._left == 0
        return part, len(part)


class ChunkedFraming:
    """Body with `Transfer-Encoding: chunked`. Extensions and trailers are dropped."""

    def __init__(self) -> None:
        self.done = self.starved = False
        self._chunk_left = 0
        self._chunk_ends = False  # the line break behind a chunk's data comes next
        self._in_trailers = False
        self._trailer_bytes = self._framing_bytes = self._body_bytes = 0

    def take(self, received: bytes | bytearray, max_steps: int = STEPS_IN_SLOT) -> tuple[bytes, int]:
        """Return the next part of the body, and its length as received.

        Raises:
            FramingError: The chunks are malformed, or lines and trailers are too long.
        """
        parts: list[bytes | bytearray] = []
        position = 0
        self.starved = False
        for _ in range(max_steps):
            if self._chunk_left:
                part = received[position : position + self._chunk_left]
                if not part:
                    self.starved = True
                    break
                parts.append(part)
                position += len(part)
                self._chunk_left -= len(part)
                self._body_bytes += len(part)
                self._chunk_ends = self._chunk_left == 0
                continue
            end = received.find(b"\r\n", position)
            if end < 0:
                self._check_unfinished_line(len(received) - position)
                self.starved = True
                break
            self._take_line(bytes(received[position:end]))
            position = end + 2
            if self.done:
                break
        return b"".join(parts), position

    def _take_line(self, line: bytes) -> None:
        self._framing_bytes += len(line) + 2
        if self._framing_bytes > MAX_FRAMING_BYTES + MAX_FRAMING_FACTOR * self._body_bytes:
            raise FramingError("the chunks of the body are too small or have too many extensions; send larger chunks")
        if self._in_trailers:
            self._trailer_bytes += len(line) + 2
            self._check_unfinished_line(0)
            if b"\n" in line or b"\r" in line:  # a proxy might take it for the end of the body
                raise FramingError("a trailer contains a single line break; send none, because trailers are not used")
            self.done = not line
        elif self._chunk_ends:
            if line:
                raise FramingError("a chunk of the body is longer than declared; send each chunk with its own size")
            self._chunk_ends = False
        else:
            match = _SIZE_LINE.fullmatch(line)
            if match is None or len(line) > MAX_LINE_BYTES:
                raise FramingError("the size of a chunk of the body is not valid; send it in hexadecimal digits")
            self._chunk_left = int(match[1], 16)
            self._in_trailers = self._chunk_left == 0

    def _check_unfinished_line(self, length: int) -> None:
        if self._in_trailers and self._trailer_bytes + length > MAX_TRAILER_BYTES:
            raise FramingError("the trailers are larger than 8 KiB; send none, because they are not used")
        if not self._in_trailers and length > MAX_LINE_BYTES:
            raise FramingError("the line before a chunk of the body is too long; send no chunk extensions")
