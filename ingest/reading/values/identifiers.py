"""Read ids of users and items as text, and check them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.reading.values.array_bytes import holds_bytes
from ingest.reading.values.id_texts import IdTexts, id_texts, type_problem
from service.core.event_fields import MAX_ID_CHARACTERS, id_problem

_WHOLE_FLOAT = r"^[-+]?\d+\.0+$"
_NUMBER_OR_NAN = r"^[-+]?\d+(\.\d*)?$|^[nN]a[nN]$"
_NAN = r"^[nN]a[nN]$"
_SCIENTIFIC = r"^-?\d+(\.\d+)?[eE]\+\d+$"  # as R and spreadsheets write large numbers
_MISSING = "\\N"  # as MySQL, Hive and PostgreSQL write it
_NO_CONTROL_CHARACTERS = r"^[^\x{0}-\x{1f}\x{7f}-\x{9f}]*$"  # as in service.core.event_fields, for RE2
_CONTROL_BYTES = (*range(0x20), 0x7F, 0xC2)


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
    around an id are removed and counted in `stripped`. An id such as 1e+05 is kept, and `scientific` has the first.
    """

    def __init__(self) -> None:
        self.from_floats: bool | None = None
        self._numbers = False
        self.stripped = 0
        self.scientific = ""

    def read(self, column: pa.Array) -> Ids:
        """Read a column of any type."""
        if problem := type_problem(column.type):
            return Ids(pa.array([""] * len(column)).dictionary_encode(), np.ones(len(column), bool), problem)
        encoded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
        missing: NDArray[np.bool_] = encoded.indices.is_null().to_numpy(zero_copy_only=False)
        if len(encoded.dictionary) == 0:
            return Ids(pa.array([""] * len(column)).dictionary_encode(), missing, "is missing")
        codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
        found = id_texts(encoded.dictionary)
        texts = self._clean(found, codes[~missing])
        wrong = _wrong(texts) if found.lossy is None else _wrong(texts) | found.lossy
        bad = missing | wrong[codes]
        if not bad.any():
            return Ids(pa.DictionaryArray.from_arrays(pa.array(codes), texts), bad, "")
        first = int(np.argmax(bad))
        reason = "is missing" if missing[first] else _reason(found, texts, int(codes[first]))
        texts = pc.if_else(pa.array(wrong), "", texts)
        return Ids(pa.DictionaryArray.from_arrays(pa.array(codes), texts), bad, reason)

    def _clean(self, found: IdTexts, codes: NDArray[np.int32]) -> pa.StringArray:
        """Strip spaces from distinct values, and write whole floats as integers."""
        texts = found.texts
        trimmed = pc.utf8_trim_whitespace(texts)
        if not trimmed.equals(texts):
            changed = pc.not_equal(texts, trimmed).fill_null(False).to_numpy(zero_copy_only=False)
            self.stripped += int(changed[codes].sum())
        if self.from_floats is None:
            self._numbers = bool(pc.all(pc.match_substring_regex(trimmed, _NUMBER_OR_NAN)).as_py())
            whole = pc.match_substring_regex(trimmed, f"{_WHOLE_FLOAT}|{_NAN}")
            self.from_floats = found.are_whole_floats or (self._numbers and bool(pc.all(whole).as_py()))
        # A look at the bytes is faster than an expression for each value.
        if holds_bytes(trimmed, b"\\"):
            trimmed = pc.if_else(pc.equal(trimmed, _MISSING), pa.scalar(None, pa.string()), trimmed)
        if self._numbers and holds_bytes(trimmed, b"nN"):
            trimmed = pc.if_else(pc.match_substring_regex(trimmed, _NAN), pa.scalar(None, pa.string()), trimmed)
        if self.from_floats and holds_bytes(trimmed, b"."):
            trimmed = pc.replace_substring_regex(trimmed, r"\.0+$", "")
        if not self.scientific and holds_bytes(trimmed, b"+"):
            shown = trimmed.filter(pc.match_substring_regex(trimmed, _SCIENTIFIC).fill_null(False))
            self.scientific = shown[0].as_py() if len(shown) else ""
        return trimmed


def _reason(found: IdTexts, texts: pa.StringArray, code: int) -> str:
    """Return why a value is no id."""
    if found.lossy is not None and found.lossy[code]:
        return found.reason
    value = texts[code].as_py()
    return "is missing" if value is None else (id_problem(value) or "")


def _wrong(texts: pa.StringArray) -> NDArray[np.bool_]:
    """Return a mask of invalid ids, as `id_problem` defines them."""
    lengths = pc.utf8_length(texts)
    wrong = pc.or_(pc.equal(lengths, 0), pc.greater(lengths, MAX_ID_CHARACTERS))
    if holds_bytes(texts, bytes(_CONTROL_BYTES)):
        wrong = pc.or_(wrong, pc.invert(pc.match_substring_regex(texts, _NO_CONTROL_CHARACTERS)))
    result: NDArray[np.bool_] = wrong.fill_null(True).to_numpy(zero_copy_only=False)
    return result
