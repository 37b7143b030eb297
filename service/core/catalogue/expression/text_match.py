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
from service.core.catalogue.expression.like_search import ANY, NotAsciiError, matching_entries
from service.core.catalogue.expression.syntax import ExpressionError

Bools = NDArray[np.bool_]

_ANY_CHARACTER = rb"[^\x80-\xbf\xff][\x80-\xbf]*"
_PIECE_BYTES = 1 << 17
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
        segments: list[list[bytes | None]] = [[]]
        for part in _pattern_parts(pattern, escape, offset):
            if part == "%":
                segments.append([])
            else:
                segments[-1].append(part if isinstance(part, bytes) else None)
        self._regex = re.compile(_regex(segments), re.DOTALL)
        self._segments = [
            tuple(byte for part in segment for byte in ((ANY,) if part is None else part)) for segment in segments
        ]

    def matches(self, entry: bytes) -> bool:
        """Return whether one string matches."""
        return self._regex.fullmatch(entry) is not None

    def select(self, table: ByteTable) -> Bools:
        """Return for every code whether its string matches."""
        view = table.view()
        selected = np.zeros(view.size + 1, np.bool_)
        for codes in _pieces(view):
            try:
                selected[codes][matching_entries(view, codes, self._segments)] = True
            except NotAsciiError:
                selected[codes] = [self.matches(table.get(code)) for code in range(codes.start, codes.stop)]
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


def _regex(segments: list[list[bytes | None]]) -> bytes:
    """Return a regex without backtracking.

    The text between two % is searched once: its first occurrence is as good as any.
    """
    found = [b"".join(_ANY_CHARACTER if part is None else re.escape(part) for part in parts) for parts in segments]
    if len(found) == 1:
        return found[0]
    middle = b"".join(b"(?>.*?" + segment + b")" for segment in found[1:-1] if segment)
    return found[0] + middle + b".*" + found[-1]


def _prefix_of(entry: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(entry[:WORD_BYTES].ljust(WORD_BYTES, b"\0")))


def _pieces(view: TableView) -> Iterator[slice]:
    """Yield all codes, a few at a time.

    Intermediate results then stay in the cache of a core.
    """
    starts, first = view.starts[: view.size + 2], 1
    while first <= view.size:
        following = max(first + 1, int(np.searchsorted(starts, starts[first] + _PIECE_BYTES)))
        yield slice(first, following := min(following, view.size + 1))
        first = following
