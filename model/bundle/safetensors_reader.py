"""Reader of safetensors files that maps large arrays instead of copying them.

The library's own reader copies every array. The service's workers are separate processes, so each would hold a copy
of the item table. Here arrays of at least MIN_MAPPED_BYTES are views of the mapped file, whose pages all processes
share (decision 0046). The mapping is private: a write changes a copy of the page in this process only.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Smaller files are read into memory, so that later changes of the file cannot reach a loaded model.
MIN_MAPPED_BYTES = 1 << 24
# Limit of the header, which holds names, shapes and offsets; real headers are far smaller.
MAX_HEADER_BYTES = 1 << 20
_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}

FileBytes = bytes | mmap.mmap


def read_file(path: Path) -> FileBytes:
    """Return the bytes of `path`.

    A large file is mapped. It must be replaced by renaming, never written to.
    """
    with path.open("rb") as file:
        if path.stat().st_size < MIN_MAPPED_BYTES:
            return file.read()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def parse_tensors(data: FileBytes) -> dict[str, NDArray[np.float32]]:
    """Return the arrays by name, of any float type.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError: not a safetensors file.
    """
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"a header of {size} bytes")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {name: _array(data, 8 + size, **entry) for name, entry in header.items()}


def _array(
    data: FileBytes, base: int, dtype: str, shape: Sequence[int], data_offsets: Sequence[int]
) -> NDArray[np.float32]:
    kind, (begin, end) = np.dtype(_KINDS[dtype]), data_offsets
    inside = begin >= 0 and end <= len(data) - base
    if not inside or min(shape, default=0) < 0 or kind.itemsize * math.prod(shape) != end - begin:
        raise ValueError("an array's shape and offsets do not fit each other or the file")
    array = np.frombuffer(data, kind, math.prod(shape), base + begin).reshape(shape)
    return array if isinstance(data, mmap.mmap) and array.nbytes >= MIN_MAPPED_BYTES else array.copy()
