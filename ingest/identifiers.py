"""Read ids of users and items as text, and check them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.core.ids import id_problem

_WHOLE_FLOAT = r"^[-+]?\d+\.0+$"
_NUMBER_OR_NAN = r"^[-+]?\d+(\.\d*)?$|^[nN]a[nN]$"
_NAN = r"^[nN]a[nN]$"


class Ids(NamedTuple):
    """Ids of one chunk.

    Attributes:
        values: (n,) strings; what is bad is an empty string.
        bad: (n,) bool.
        reason: why the first bad one is no id, as the end of a sentence; "" without any.
    """

    values: pa.StringArray
    bad: NDArray[np.bool_]
    reason: str


class IdReader:
    """Reads the ids of one column of one file, chunk by chunk.

    A column of whole numbers that some tool has written as floats ("9.0") is read as "9". The first chunk decides,
    and `from_floats` says so. In a column of numbers "NaN" is a missing value, elsewhere an id like others. Spaces
    around an id are removed and counted in `stripped`.
    """

    def __init__(self) -> None:
        self.from_floats: bool | None = None
        self._numbers = False
        self.stripped = 0

    def read(self, column: pa.Array) -> Ids:
        """Read a column of any type."""
        encoded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
        texts, floats = _texts(encoded.dictionary)
        trimmed = pc.utf8_trim_whitespace(texts)
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        missing = ~encoded.indices.is_valid().to_numpy(zero_copy_only=False)
        codes = np.where(missing, 0, codes).astype(np.int64)
        if len(texts) == 0:
            return Ids(pa.array([""] * len(column), pa.string()), np.ones(len(column), bool), "is missing")
        changed = ~pc.equal(texts, trimmed).fill_null(True).to_numpy(zero_copy_only=False)
        self.stripped += int(changed[codes][~missing].sum())
        if self.from_floats is None:
            self._numbers = bool(pc.all(pc.match_substring_regex(trimmed, _NUMBER_OR_NAN)).as_py())
            whole = pc.match_substring_regex(trimmed, f"{_WHOLE_FLOAT}|{_NAN}")
            self.from_floats = floats or (self._numbers and bool(pc.all(whole).as_py()))
        if self._numbers:
            trimmed = pc.if_else(pc.match_substring_regex(trimmed, _NAN), pa.scalar(None, pa.string()), trimmed)
        if self.from_floats:
            trimmed = pc.replace_substring_regex(trimmed, r"\.0+$", "")
        values = trimmed.to_pylist()
        reasons = ["is missing" if value is None else id_problem(value) for value in values]
        wrong = np.array([reason is not None for reason in reasons])
        bad = missing | wrong[codes]
        reason = ""
        if bad.any():
            first = int(np.argmax(bad))
            reason = "is missing" if missing[first] else (reasons[codes[first]] or "")
        clean = ["" if problem else value for value, problem in zip(values, reasons, strict=True)]
        return Ids(pa.array(clean, pa.string()).take(pa.array(codes)), bad, reason)


def _texts(values: pa.Array) -> tuple[pa.StringArray, bool]:
    """Distinct values as text, and whether whole numbers stand as floats."""
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
        texts = [
            str(int(number)) if fits else (None if np.isnan(number) else repr(float(number)))
            for number, fits in zip(numbers.tolist(), whole.tolist(), strict=True)
        ]
        return pa.array(texts, pa.string()), bool(whole[np.isfinite(numbers)].all())
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        return pa.array([value.decode("utf-8", "replace") for value in values.to_pylist()], pa.string()), False
    return values.cast(pa.string()), False
