"""Arrays and columns in temporary files, for data larger than memory.

The files are unnamed and in the folder for temporary files (`TMPDIR`); the system removes each after its last use.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ingest.errors import DataError

CHUNK_EVENTS = 1 << 18  # held in memory at a time
_MAX_BYTES_IN_MEMORY = 1 << 24


class DiskColumn:
    """Column of numbers in a temporary file: append first, then read."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._file = _temporary_file()
        self.is_empty = True

    def append(self, values: NDArray[Any]) -> None:
        """Append values; raises `DataError` if the disk is full."""
        self.is_empty = False
        try:
            self._file.write(np.ascontiguousarray(values, self._dtype).data)
        except OSError as error:
            raise _disk_full(error) from None

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield the values in order, `CHUNK_EVENTS` at a time."""
        self._file.seek(0)
        while len(chunk := np.fromfile(self._file, self._dtype, CHUNK_EVENTS)):
            yield chunk


def allocate(dtype: np.dtype[Any], size: int) -> NDArray[Any]:
    """Allocate an array, in a temporary file if it is large.

    Raises:
        DataError: the disk is full.
    """
    if size * dtype.itemsize <= _MAX_BYTES_IN_MEMORY:
        return np.zeros(size, dtype)
    with _temporary_file() as file:
        try:
            # Reserve the space now: writing to a mapped file on a full disk would kill the process.
            os.posix_fallocate(file.fileno(), 0, size * dtype.itemsize)
        except OSError as error:
            raise _disk_full(error) from None
        return np.asarray(np.memmap(file, dtype, "r+", shape=(size,)))


def _temporary_file() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="recblr-")


def _disk_full(error: OSError) -> DataError:
    folder = tempfile.gettempdir()
    return DataError(f"{folder} cannot take the events ({error.strerror}); set TMPDIR to a folder with more room")
