"""Item ids of a table, as the events have them."""

from __future__ import annotations

import math
import re
from typing import Any

_WHOLE_FLOAT = re.compile(r"[-+]?\d+\.0+")
_MISSING = ("", r"\N")  # as CSV, and as MySQL, Hive and PostgreSQL write it


class ItemIds:
    """Reads ids; values of the whole column are added first.

    A column of whole numbers that some tool has written as floats ("9.0") is read as "9", as in tables of events.
    """

    def __init__(self, *, text: bool) -> None:
        """`text`: values have no types, so that their spelling decides."""
        self._text = text
        self._are_whole_floats = True

    def add(self, value: Any) -> None:  # noqa: ANN401 - a value of any table
        """Take a value into account."""
        if self._text and value is not None:
            plain = value.strip()
            if plain not in _MISSING and plain.lower() != "nan":
                self._are_whole_floats &= _WHOLE_FLOAT.fullmatch(plain) is not None

    def read(self, value: Any) -> str | None:  # noqa: ANN401
        """Return the id, or None for a missing one."""
        if self._text and value is not None:
            plain: str = value.strip()
            if self._are_whole_floats:
                return None if plain.lower() == "nan" or plain in _MISSING else plain.partition(".")[0]
            return None if plain in _MISSING else plain
        if isinstance(value, float):
            return None if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
        return None if value is None or value == "" else str(value)
