"""Matching of strings, or of all distinct strings of a column.

Strings are compared as UTF-8, whose order is that of the code points.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.byte_table import WORD_BYTES, ByteTable, TableView
from service.core.catalogue.columns.coded_columns import encode_text
from service.core.catalogue.expression.syntax import ExpressionError

Bools = NDArray[np.bool_]

_ANY_CHARACTER = rb"[^\x80-\xbf\xff][\x80-\xbf]*"
_CHUNK_BYTES = 1 << 16  # searched in one call, which holds the GIL
_OPERATORS: dict[str, Callable[[bytes, bytes], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class TextMatch(Protocol):
    """Condition on a string."""

    def matches(self, entry: bytes) -> bool:
        """Return whether one string matches."""
        ...

    def select(self, table: ByteTable) -> Bools:
        """Return for every code whether its string matches; code 0 never does."""
        ...


class AmongMatch:
    """The string is one of several."""

    def __init__(self, values: frozenset[bytes]) -> None:
        self._values = values

    def matches(self, entry: bytes) -> bool:
        """Return whether one string matches."""
        return entry in self._values

    def select(self, table: ByteTable) -> Bools:
        """Return for every code whether its string matches."""
        selected = np.zeros(table.view().size + 1, np.bool_)
        codes = np.array([table.find(value) for value in self._values], np.int64)
        selected[codes[codes < len(selected)]] = True
        selected[0] = False
        return selected


class OrderedMatch:
    """The string is below or above another."""

    def __init__(self, comparison: str, value: bytes) -> None:
        self._compare = _OPERATORS[comparison]
        self._value = value

    def matches(self, entry: bytes) -> bool:
        """Return whether one string matches."""
        return self._compare(entry, self._value)

    def select(self, table: ByteTable) -> Bools:
        """Return for every code whether its string matches."""
        view = table.view()
        prefixes = view.words(slice(None))
        own = _prefix_of(self._value)
        below = self._compare(b"", b"x")
        selected = prefixes < own if below else prefixes > own
        for code in np.flatnonzero(prefixes == own).tolist():
            selected[code] = code and self.matches(table.get(code))
        selected[0] = False
        return selected


class LikeMatch:
    """The string matches a pattern: % is any text, _ one character."""

    def __init__(self, pattern: str, escape: str | None, offset: int = 0) -> None:
        """Translate a pattern; raises `ExpressionError` if an escape is unfinished."""
        self._parts = list(_pattern_parts(pattern, escape, offset))
        self._regex = re.compile(_regex(self._parts), re.DOTALL)
        first = self._parts[0] if self._parts else b""
        self._prefix = first if isinstance(first, bytes) else b""
        self._longest = max((part for part in self._parts if isinstance(part, bytes)), key=len, default=b"")

    def matches(self, entry: bytes) -> bool:
        """Return whether one string matches."""
        return self._regex.fullmatch(entry) is not None

    def select(self, table: ByteTable) -> Bools:
        """Return for every code whether its string matches."""
        view = table.view()
        selected = np.zeros(view.size + 1, np.bool_)
        if self._prefix:
            length = min(len(self._prefix), WORD_BYTES)
            selected |= view.words(slice(None), length=length) == _prefix_of(self._prefix[:length])
            is_exact = self._parts == [self._prefix, "%"] and len(self._prefix) == length
        elif self._longest:
            selected[_codes_with(view, self._longest)] = True
            is_exact = self._parts == ["%", self._longest, "%"]
        else:
            selected[:], is_exact = True, self._parts == ["%"]
        selected[0] = False
        if not is_exact:
            for code in np.flatnonzero(selected).tolist():
                selected[code] = self.matches(table.get(code))
        return selected


def _pattern_parts(pattern: str, escape: str | None, offset: int) -> Iterator[bytes | str]:
    """Yield literals as bytes, and the wildcards as strings."""
    text, characters = "", iter(pattern)
    last: str | None = None
    for character in characters:
        if character == escape:
            character = next(characters, "")  # noqa: PLW2901
            if character not in ("%", "_", escape):
                raise ExpressionError("after the escape character comes %, _ or itself", offset)
        elif character in "%_":
            if text:
                yield encode_text(text)
            if (text, last, character) != ("", "%", "%"):
                yield character
            text, last = "", character
            continue
        text, last = text + character, None
    if text:
        yield encode_text(text)


def _regex(parts: list[bytes | str]) -> bytes:
    """Return a regex without backtracking.

    The text between two % is searched once: its first occurrence is as good as any.
    """
    segments: list[bytes] = [b""]
    for part in parts:
        if part == "%":
            segments.append(b"")
        else:
            segments[-1] += _ANY_CHARACTER if isinstance(part, str) else re.escape(part)
    if len(segments) == 1:
        return segments[0]
    middle = b"".join(b"(?>.*?" + segment + b")" for segment in segments[1:-1] if segment)
    return segments[0] + middle + b".*" + segments[-1]


def _prefix_of(entry: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(entry[:WORD_BYTES].ljust(WORD_BYTES, b"\0")))


def _codes_with(view: TableView, literal: bytes) -> NDArray[np.int64]:
    """Return the codes of the entries that hold `literal`."""
    end = int(view.starts[view.size + 1])
    search = re.compile(re.escape(literal) + b"[^\xff]*\xff").finditer
    content = memoryview(view.content.data)
    found: list[int] = []
    begin = 0
    while begin < end:
        # Ends with an entry.
        code = int(np.searchsorted(view.starts[: view.size + 2], min(begin + _CHUNK_BYTES, end)))
        stop = int(view.starts[code])
        found += [begin + match.start() for match in search(content[begin:stop])]
        begin = stop
    return np.searchsorted(view.starts[1 : view.size + 2], np.array(found, np.int64), side="right")
