"""Types of a table's columns, found from all of their values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from ingest.errors import DataError

BOOL, NUMBER, STRING, STRINGS, TIME = "bool", "number", "string", "strings", "time"
TRUTHS = {"true": True, "false": False}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CODE = re.compile(r"[+-]?0\d")  # a number does not begin like this, but a postal code does


class ColumnKinds:
    """Kinds of columns; values are added one by one."""

    def __init__(self, *, text: bool) -> None:
        """`text`: values have no types, so that their spelling decides."""
        self._text = text
        self._found: dict[str, set[str]] = {}
        self._blank: dict[str, None] = {}  # columns with an empty text, which stands for nothing in a text table

    def add(self, name: str, value: Any) -> None:  # noqa: ANN401 - a value of any table
        """Take a value into account."""
        if value == "":
            self._blank[name] = None
        elif value is not None:
            self._found.setdefault(name, set()).add(text_kind(value) if self._text else typed_kind(value))

    @property
    def names(self) -> Iterable[str]:
        """Names of the columns that have values."""
        return self._found if self._text else {**self._found, **self._blank}

    def kind(self, source: str, name: str) -> str:
        """Return a column's kind; raises `DataError` for several."""
        found = self._found.get(name, {STRING})
        if len(found) == 1:
            return next(iter(found))
        if self._text:
            return STRING
        raise DataError(
            f"{source}: the values of {name!r} have several types ({', '.join(sorted(found))}); make them one"
        )


def text_kind(value: str) -> str:
    """Return the kind of a text's spelling."""
    if value.strip().lower() in TRUTHS:
        return BOOL
    plain = value.strip()
    if _NUMBER.fullmatch(plain) and not _CODE.match(plain) and math.isfinite(float(plain)):
        return NUMBER
    return STRING


def typed_kind(value: Any) -> str:  # noqa: ANN401
    """Return the kind of a value of Parquet or JSON."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int | float | Decimal):
        return NUMBER
    if isinstance(value, date):  # datetime is one, too
        return TIME
    return STRINGS if isinstance(value, list | tuple) else STRING
