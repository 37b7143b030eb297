"""LIKE on all strings of a table at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.byte_table import TableView

ANY = -1  # in a segment: one character, of one byte
SEPARATOR_BYTE = 0xFF

Segment = tuple[int, ...]  # bytes, or ANY
Ints = NDArray[np.int64]


class NotAsciiError(Exception):
    """A character of the entries may take several bytes."""


def matching_entries(view: TableView, codes: slice, segments: Sequence[Segment]) -> Ints:
    """Return the positions in `codes` of the entries that match.

    There may be any text between two segments. The first stands at the beginning, the last at the end; both may be
    empty. Each other one is looked for after the one before: its first occurrence is as good as any.

    Args:
        view: the table.
        codes: consecutive codes.
        segments: one, or several if the pattern has %.

    Raises:
        NotAsciiError: a segment has ANY, and the entries are not ASCII.
    """
    starts = view.starts[codes.start : codes.stop]
    ends = view.starts[codes.start + 1 : codes.stop + 1] - view.gap
    content = view.content[starts[0] : ends[-1] + view.gap]
    starts, ends = starts - view.starts[codes.start], ends - view.starts[codes.start]
    if any(ANY in segment for segment in segments) and ((content >= 0x80) & (content < SEPARATOR_BYTE)).any():
        raise NotAsciiError
    first, last = segments[0], segments[-1]
    left = _at(content, np.arange(len(starts)), starts, first)
    if len(segments) == 1:
        whole: Ints = left[ends[left] - starts[left] == len(first)]
        return whole
    reached = starts[left] + len(first)
    for segment in filter(None, segments[1:-1]):
        found = np.append(_occurrences(content, segment), len(content))
        next_found = found[np.searchsorted(found, reached)]
        inside = next_found < ends[left]
        left, reached = left[inside], next_found[inside] + len(segment)
    left = left[ends[left] - len(last) >= reached]
    return _at(content, left, ends - len(last), last)


def _at(content: NDArray[np.uint8], entries: Ints, begins: Ints, segment: Segment) -> Ints:
    """Return those entries whose segment at `begins` is this one."""
    for offset, byte in enumerate(segment):
        found = content[begins[entries] + offset]
        entries = entries[found != SEPARATOR_BYTE if byte == ANY else found == byte]
    return entries


def _occurrences(content: NDArray[np.uint8], segment: Segment) -> Ints:
    """Return where a segment occurs, ascending."""
    count = max(0, len(content) - len(segment) + 1)
    found = np.ones(count, np.bool_)
    for offset, byte in enumerate(segment):
        part = content[offset : offset + count]
        found &= part != SEPARATOR_BYTE if byte == ANY else part == byte
    return np.flatnonzero(found)
