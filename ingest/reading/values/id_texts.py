"""Distinct ids of any column type as text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# Floats of each type skip whole numbers from here on.
_EXACT_BELOW = {pa.float16(): 2**11, pa.float32(): 2**24, pa.float64(): 2**53}
_NOT_EXACT = "is a float too large to be exact; write the ids as integers or text"
_NOT_TEXT = "is not UTF-8; write the ids as text"


class IdTexts(NamedTuple):
    """Text of distinct values.

    Attributes:
        texts: (n,) strings, null where a value is missing.
        are_whole_floats: whether all values are floats without a fraction.
        lossy: (n,) bool, values that their text does not tell apart, for the `reason`; None if there are none.
    """

    texts: pa.StringArray
    are_whole_floats: bool = False
    lossy: NDArray[np.bool_] | None = None
    reason: str = ""


def type_problem(kind: pa.DataType) -> str | None:
    """Return why values of this type are no ids, or None.

    It is the end of a sentence.
    """
    if pa.types.is_dictionary(kind):
        return type_problem(kind.value_type)
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return f"is of type {str(kind)[:60]}, which is no id; name a column of text or numbers"
    return None


def id_texts(values: pa.Array) -> IdTexts:
    """Return the text of values whose type has no `type_problem`."""
    kind = values.type
    if pa.types.is_floating(kind):
        return _of_floats(values)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _of_bytes(values.to_pylist())
    return IdTexts(values.cast(pa.string()))


def _of_floats(values: pa.Array) -> IdTexts:
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
    whole = np.isfinite(numbers) & (numbers == np.floor(numbers))
    lossy = np.isinf(numbers) | (np.abs(numbers) >= _EXACT_BELOW[values.type])
    texts = [
        None if np.isnan(number) else str(int(number)) if is_whole else repr(number)
        for number, is_whole in zip(numbers.tolist(), whole.tolist(), strict=True)
    ]
    finite = np.isfinite(numbers)
    return IdTexts(
        pa.array(texts, pa.string()), bool(whole[finite].all()), lossy if lossy.any() else None, _NOT_EXACT
    )


def _of_bytes(values: list[bytes | None]) -> IdTexts:
    texts = [None if value is None else value.decode("utf-8", "replace") for value in values]
    pairs = zip(texts, values, strict=True)
    lossy = np.array([text is not None and text.encode() != value for text, value in pairs], bool)
    return IdTexts(pa.array(texts, pa.string()), lossy=lossy if lossy.any() else None, reason=_NOT_TEXT)
