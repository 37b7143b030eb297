"""Recognise lines `user item item …` of histories."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ingest.errors import DataError

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
_MIN_UNIX_SECONDS = 1e8
_OTHER_MARKS = ("\t", ",", ";", "|", "::", '"')  # of tables


def looks_like_histories(source: str, lines: Sequence[str]) -> bool:
    """Return whether the lines are histories.

    Each user has one line. The items are numbers, or most of them recur; the words of other texts do not.

    Raises:
        DataError: they may as well be a table without a header.
    """
    if any(mark in line for line in lines for mark in _OTHER_MARKS):
        return False
    rows = [line.split() for line in lines]
    widths = {len(row) for row in rows}
    if len(widths) == 1 and widths <= {2, 3, 4, 5} and len(rows) > 1:
        times = all(_NUMBER.fullmatch(row[-1]) and float(row[-1]) >= _MIN_UNIX_SECONDS for row in rows[1:])
        words = not any(_NUMBER.fullmatch(field) for field in rows[0])
        numbers = all(_NUMBER.fullmatch(field) for row in rows[1:] for field in row)
        if times or (words and numbers):
            raise DataError(
                f"{source}: every line has {widths.pop()} fields, like a table, and the first is {lines[0][:80]!r}; "
                "name the columns with --columns or --user-column, or, if it holds histories, pass --histories"
            )
    return max(widths) > 1 and len({row[0] for row in rows}) == len(rows) and _are_items(rows)


def _are_items(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether most items are numbers or recur."""
    counts = Counter(item for row in rows for item in row[1:])
    likely = sum(count for item, count in counts.items() if count > 1 or _NUMBER.fullmatch(item))
    return 2 * likely > sum(counts.values())
