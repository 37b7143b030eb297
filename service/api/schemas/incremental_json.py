"""Parsing of large JSON in slices, between which other requests run.

The parser of the standard library takes 40 ms for 4 MiB, and lets no other thread run meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import re
from json import JSONDecodeError
from time import perf_counter
from typing import Any, NoReturn

MAX_ROW_CHARACTERS = 128 * 1024
ROW_TOO_LONG = f"has an entry of more than {MAX_ROW_CHARACTERS} characters"
_FIRST_TRY_CHARACTERS = 8 * 1024
_SLICE_SECONDS = 0.001
_LONGEST_WORD = 16  # more than a name of a constant or an escaped character

_SPACE = re.compile(r"[ \t\r\n]*")


async def parse_rows(text: str, field: str) -> dict[str, Any]:
    """Parse a JSON object whose `field` is a long list.

    Raises `JSONDecodeError`, also if an entry of the list, or another field, is longer than `MAX_ROW_CHARACTERS`.
    """
    cursor = _Cursor(text)
    found: dict[str, Any] = {}
    cursor.expect("{")
    if cursor.follows("}"):
        cursor.end()
        return found
    while True:
        name = cursor.value()
        if not isinstance(name, str):
            cursor.refuse("Expecting property name")
        cursor.expect(":")
        if name == field and cursor.follows("["):
            found[name] = await _rows(cursor)
        else:
            found[name] = cursor.value()
        if not cursor.follows(","):
            break
    cursor.expect("}")
    cursor.end()
    return found


async def _rows(cursor: _Cursor) -> list[Any]:
    """Parse the rest of a list after its bracket."""
    rows: list[Any] = []
    if cursor.follows("]"):
        return rows
    began = perf_counter()
    while True:
        rows.append(cursor.value())
        if perf_counter() - began > _SLICE_SECONDS:
            await asyncio.sleep(0)
            began = perf_counter()
        if not cursor.follows(","):
            break
    cursor.expect("]")
    return rows


class _Cursor:
    """Position in a JSON text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._decoder = json.JSONDecoder(parse_constant=lambda name: self.refuse(f"{name} is no JSON"))

    def follows(self, character: str) -> bool:
        """Skip the character if it is next, after any space."""
        self._skip_space()
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        return True

    def expect(self, character: str) -> None:
        """Skip the character; raise if another one is next."""
        if not self.follows(character):
            self.refuse(f"Expecting '{character}'")

    def value(self) -> Any:  # noqa: ANN401
        """Parse one value."""
        self._skip_space()
        for size in (_FIRST_TRY_CHARACTERS, MAX_ROW_CHARACTERS):
            piece = self._text[self._at : self._at + size]
            cut_off = self._at + size < len(self._text)
            try:
                value, length = self._decoder.raw_decode(piece)
            except (JSONDecodeError, RecursionError) as error:
                if not (cut_off and _is_at_end(error, piece)):
                    self.refuse(error.msg if isinstance(error, JSONDecodeError) else "too deep")
                continue
            # A number at the very end of a piece could go on behind it.
            if length < len(piece) or not cut_off:
                self._at += length
                return value
        return self.refuse(ROW_TOO_LONG)

    def end(self) -> None:
        """Raise unless nothing but space follows."""
        self._skip_space()
        if self._at < len(self._text):
            self.refuse("Extra data")

    def refuse(self, problem: str) -> NoReturn:
        """Raise the error at this position."""
        raise JSONDecodeError(problem, self._text, self._at)

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None  # noqa: S101 - the pattern matches the empty string
        self._at = match.end()


def _is_at_end(error: JSONDecodeError | RecursionError, piece: str) -> bool:
    """Return whether the error may come from cutting the piece off."""
    if isinstance(error, RecursionError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(piece) - _LONGEST_WORD
