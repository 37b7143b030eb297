"""Reads a safetensors file, and leaves a large table where it lies.

The library's own reader copies every array. A server's workers are processes of their own, so each would hold a copy
of the item table. Here arrays of at least `MAPPED` bytes are views of the mapped file: their pages belong to the
system's cache of files, which all processes share. A mapping is private: who writes into one changes a copy.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Smaller files are read, so that nothing that happens to them later can reach who has loaded them.
MAPPED = 1 << 24
# The names, shapes and places of the arrays, which a file begins with, are far below this.
LARGEST_HEADER = 1 << 20
_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}

FileBytes = bytes | mmap.mmap


def read_file(path: Path) -> FileBytes:
    """The bytes of `path`, mapped if they are many: such a file is replaced by renaming, never written to."""
    with path.open("rb") as file:
        if path.stat().st_size < MAPPED:
            return file.read()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def parse_tensors(data: FileBytes) -> dict[str, NDArray[np.float32]]:
    """The arrays by name, of whatever kind.

    ValueError, KeyError, TypeError, AttributeError, OverflowError or RecursionError where this is no such file.
    """
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(LARGEST_HEADER, len(data) - 8):
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
        raise ValueError("an array's shape and place do not fit each other or the file")
    array = np.frombuffer(data, kind, math.prod(shape), base + begin).reshape(shape)
    return array if isinstance(data, mmap.mmap) and array.nbytes >= MAPPED else array.copy()
