"""Read types and values of events."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.reading.values.identifiers import IdReader
from service.core.event_fields import DEFAULT_TYPE, EVENT_TYPE, MAX_VALUE


class Found(NamedTuple):
    """Types or values of one chunk.

    Attributes:
        values: (n,) null where the cell is empty or bad.
        bad: (n,) bool.
        reason: why the first bad one is none, as the end of a sentence; "" without any.
    """

    values: pa.Array
    bad: NDArray[np.bool_]
    reason: str


class TypeReader:
    """Reads a column of types.

    An empty cell stands for the default type, as "view" does.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        """Take the types by the texts that stand for them."""
        self._names = names
        self._ids = IdReader()

    def read(self, column: pa.Array) -> Found:
        """Read a column of texts or numbers."""
        empty: NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False)
        texts = self._ids.read(column).values
        types = [self._type_of(text) for text in texts.dictionary.to_pylist()]
        codes = texts.indices.to_numpy()
        wrong = np.array([found is None for found in types], np.bool_)
        default = np.array([found == DEFAULT_TYPE for found in types], np.bool_)
        bad = wrong[codes] & ~empty
        values = pa.DictionaryArray.from_arrays(
            pa.array(codes, mask=bad | empty | default[codes]),
            pa.array([found or "" for found in types], pa.string()),
        )
        reason = "is no type; name the type that it stands for with --map-types" if bad.any() else ""
        return Found(values, bad, reason)

    def _type_of(self, text: str) -> str | None:
        found = self._names.get(text, text)
        return found if re.fullmatch(EVENT_TYPE, found) else None


def read_values(column: pa.Array) -> Found:
    """Read a column of numbers, perhaps as text."""
    encoded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
    numbers = [_number(value) for value in encoded.dictionary.to_pylist()]
    empty: NDArray[np.bool_] = encoded.indices.is_null().to_numpy(zero_copy_only=False)
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    found = np.array([np.nan if number is None else number for number in numbers] or [np.nan], np.float64)[codes]
    missing: NDArray[np.bool_] = np.isnan(found)
    bad = missing & ~empty
    reason = f"is no number from {-MAX_VALUE:g} to {MAX_VALUE:g}" if bad.any() else ""
    return Found(pa.array(found, mask=missing | empty), bad, reason)


def _number(value: object) -> float | None:
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) <= MAX_VALUE else None
