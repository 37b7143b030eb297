"""Read ids of users and items as text, and check them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.core.ids import MAX_ID_CHARACTERS, id_problem

_WHOLE_FLOAT = r"^[-+]?\d+\.0+$"
_NUMBER_OR_NAN = r"^[-+]?\d+(\.\d*)?$|^[nN]a[nN]$"
_NAN = r"^[nN]a[nN]$"
_NO_CONTROL_CHARACTERS = r"^[^\x{0}-\x{1f}\x{7f}-\x{9f}]*$"  # as in service.core.ids, for RE2


class Ids(NamedTuple):
    """Ids of one chunk.

    Attributes:
        values: (n,) strings behind a dictionary, which may hold a string twice; what is bad is empty.
        bad: (n,) bool.
        reason: why the first bad one is no id, as the end of a sentence; "" without any.
    """

    values: pa.DictionaryArray
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
        missing: NDArray[np.bool_] = encoded.indices.is_null().to_numpy(zero_copy_only=False)
        if len(encoded.dictionary) == 0:
            return Ids(pa.array([""] * len(column)).dictionary_encode(), missing, "is missing")
        codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
        texts = self._clean(encoded.dictionary, codes[~missing])
        wrong = _wrong(texts)
        bad = missing | wrong[codes]
        reason = ""
        if bad.any():
            first = int(np.argmax(bad))
            value = None if missing[first] else texts[int(codes[first])].as_py()
            reason = "is missing" if value is None else (id_problem(value) or "")
            texts = pc.if_else(pa.array(wrong), "", texts)
        return Ids(pa.DictionaryArray.from_arrays(pa.array(codes), texts), bad, reason)

    def _clean(self, values: pa.Array, codes: NDArray[np.int32]) -> pa.StringArray:
        """Strip spaces from distinct values, and write whole floats as integers."""
        texts, floats = _texts(values)
        trimmed = pc.utf8_trim_whitespace(texts)
        if not trimmed.equals(texts):
            changed = pc.not_equal(texts, trimmed).fill_null(False).to_numpy(zero_copy_only=False)
            self.stripped += int(changed[codes].sum())
        if self.from_floats is None:
            self._numbers = bool(pc.all(pc.match_substring_regex(trimmed, _NUMBER_OR_NAN)).as_py())
            whole = pc.match_substring_regex(trimmed, f"{_WHOLE_FLOAT}|{_NAN}")
            self.from_floats = floats or (self._numbers and bool(pc.all(whole).as_py()))
        if self._numbers:
            trimmed = pc.if_else(pc.match_substring_regex(trimmed, _NAN), pa.scalar(None, pa.string()), trimmed)
        if self.from_floats:
            trimmed = pc.replace_substring_regex(trimmed, r"\.0+$", "")
        return trimmed


def _wrong(texts: pa.StringArray) -> NDArray[np.bool_]:
    """Return a mask of invalid ids, as `id_problem` defines them."""
    lengths = pc.utf8_length(texts)
    wrong = pc.or_(pc.equal(lengths, 0), pc.greater(lengths, MAX_ID_CHARACTERS))
    if _may_hold_control_characters(texts):
        wrong = pc.or_(wrong, pc.invert(pc.match_substring_regex(texts, _NO_CONTROL_CHARACTERS)))
    result: NDArray[np.bool_] = wrong.fill_null(True).to_numpy(zero_copy_only=False)
    return result


def _may_hold_control_characters(texts: pa.StringArray) -> bool:
    """Return whether the values may contain control characters.

    Faster than checking each value.
    """
    data = texts.buffers()[2]
    if data is None:
        return False
    bytes_ = np.frombuffer(data, np.uint8)
    return bool(((bytes_ < 0x20) | (bytes_ == 0x7F) | (bytes_ == 0xC2)).any())


def _texts(values: pa.Array) -> tuple[pa.StringArray, bool]:
    """Return distinct values as text, and whether floats hold integers."""
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
