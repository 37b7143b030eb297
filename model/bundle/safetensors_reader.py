"""Reader of safetensors files whose large arrays are views of shared memory.

The library's own reader copies every array. The service's workers are separate processes, so each would hold a copy
of the item table. Here arrays of at least MIN_SHARED_BYTES are views of the memory that the workers share
(`sealed_memory`). It is mapped privately: a write changes a copy of the page in this process only.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Smaller files and arrays are copied into each process.
MIN_SHARED_BYTES = 1 << 24
# Limit of the header, which holds names, shapes and offsets; real headers are far smaller.
MAX_HEADER_BYTES = 1 << 20
_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "U64": "<u8"}

FileBytes = bytes | mmap.mmap


def parse_tensors(data: FileBytes) -> dict[str, NDArray[Any]]:
    """Return the arrays by name, of any float type or uint64.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError: not a safetensors file.
    """
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"a header of {size} bytes")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {name: _array(data, 8 + size, **entry) for name, entry in header.items()}


def _array(data: FileBytes, base: int, dtype: str, shape: Sequence[int], data_offsets: Sequence[int]) -> NDArray[Any]:
    kind, (begin, end) = np.dtype(_KINDS[dtype]), data_offsets
    inside = begin >= 0 and end <= len(data) - base
    if not inside or min(shape, default=0) < 0 or kind.itemsize * math.prod(shape) != end - begin:
        raise ValueError("an array's shape and offsets do not fit each other or the file")
    array = np.frombuffer(data, kind, math.prod(shape), base + begin).reshape(shape)
    return array if isinstance(data, mmap.mmap) and array.nbytes >= MIN_SHARED_BYTES else array.copy()
