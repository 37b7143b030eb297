"""Cheap bounds on JSON text, checked before it is parsed.

A parser and a validator in compiled code do not let the event loop run. Four MiB of small unknown fields held it for
1.5 s. Counting bytes first costs a few milliseconds at most.

Everything here works in slices, so that other threads run in between: one call in compiled code keeps the GIL.
"""

from __future__ import annotations

import json
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any

MAX_VALUES = 2_048  # a list of 1,000 ids and a few fields
MAX_VALUES_OF_A_BATCH = 8_192  # 1,000 events with all of their seven fields have some 8,000
MAX_STRING_BYTES = 64 * 1024
MAX_ESCAPES = 800_000  # as many as 4 MiB hold, if every character is escaped as \\u0000
SLICE_BYTES = 64 * 1024
# Larger texts are parsed value by value. Compiled code parses as much in 1 ms, and as a whole.
_COMPILED_PARSER_BYTES = 512 * 1024
_CHECKED_BYTES = MAX_VALUES
_BYTES_PER_VALUE = 64  # of numbers, names of constants and punctuation; and of whitespace between them
_WHITESPACE = b" \t\r\n"


def is_too_complex(text: bytes, max_values: int = MAX_VALUES) -> bool:
    """Return whether the JSON has too many values, or too long ones."""
    return len(text) >= _CHECKED_BYTES and JsonCounts(max_values).add(text)


def without_padding(text: bytes) -> bytes:
    """Remove the whitespace before and after the JSON."""
    start, end = 0, len(text)
    while start < end and not text[start : start + SLICE_BYTES].strip(_WHITESPACE):
        start += SLICE_BYTES
    while start < end and not text[max(start, end - SLICE_BYTES) : end].strip(_WHITESPACE):
        end -= SLICE_BYTES
    return text[start:end].strip(_WHITESPACE)


def parse(text: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    """Parse JSON text; raises as `json.loads` does."""
    return json.loads(text, cls=_SlicedDecoder if len(text) > _COMPILED_PARSER_BYTES else None)


class _SlicedDecoder(json.JSONDecoder):
    """Decoder of the standard library that returns to Python after each value."""

    def __init__(self) -> None:
        super().__init__()
        self.parse_object = json.decoder.JSONObject  # type: ignore[attr-defined]
        self.parse_array = json.decoder.JSONArray  # type: ignore[attr-defined]
        self.scan_once = py_make_scanner(self)


class JsonCounts:
    """Counts of a JSON text that arrives in parts."""

    def __init__(self, max_values: int) -> None:
        self._max_values = max_values
        self._values = self._escapes = self._quotes = self._outside = self._whitespace = 0
        self._padding = 0  # of the whitespace: what nothing has followed so far
        self._begun = False
        self._string = self._longest = 0  # bytes of the string in which the last slice ended; of the longest one
        self._rest = b""  # a backslash whose second character is in the next slice

    def add(self, part: bytes) -> bool:
        """Count a part; return whether the text is too complex."""
        for start in range(0, len(part), SLICE_BYTES):
            self._add(part[start : start + SLICE_BYTES])
            if self._exceed():
                return True
        return False

    def _add(self, part: bytes) -> None:
        self._find_padding(part)
        if self._rest or b"\\" in part:
            self._escapes += part.count(b"\\")
            part = (self._rest + part).replace(b"\\\\", b"").replace(b'\\"', b"")
            self._rest = b"\\" if part.endswith(b"\\") else b""
            part = part[: len(part) - len(self._rest)]
        pieces = part.split(b'"')
        in_string = self._quotes % 2
        self._quotes += len(pieces) - 1
        strings = list(map(len, pieces[1 - in_string :: 2]))
        if in_string:
            strings[0] += self._string
        self._longest = max(self._longest, *strings, 0)
        self._string = strings[-1] if self._quotes % 2 else 0
        outside = b"".join(pieces[in_string::2])
        tokens = outside.translate(None, _WHITESPACE)
        self._outside += len(tokens)
        self._whitespace += len(outside) - len(tokens)
        self._values += tokens.count(b",") + tokens.count(b"[") + tokens.count(b"{")

    def _find_padding(self, part: bytes) -> None:
        """Find the whitespace before and after the JSON."""
        if self._quotes % 2:  # within a string; after it, the padding is counted again
            self._padding = 0
            return
        found = len(part) - len(part.rstrip(_WHITESPACE))
        if found == len(part):
            self._padding += found
            return
        if not self._begun:
            self._begun = True
            self._whitespace -= self._padding + len(part) - len(part.lstrip(_WHITESPACE))
        self._padding = found

    def _exceed(self) -> bool:
        most = self._max_values
        return (
            self._values > most
            or self._quotes > 4 * most  # each value has at most two strings, its name and itself
            or max(self._outside, self._whitespace - self._padding) > _BYTES_PER_VALUE * most
            or self._longest > MAX_STRING_BYTES
            or self._escapes > MAX_ESCAPES
        )
