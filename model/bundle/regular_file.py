"""Opening of a bundle's files: regular files only, never through a link.

A folder of bundles can hold anything. A FIFO would block its reader, and a link could lead anywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open `path` for reading; yield the file and its size.

    Raises `OSError` unless it is a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise OSError("it is not a regular file")
        yield file, state.st_size


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of `path`, at most `max_bytes`; raises `OSError`."""
    with open_regular(path) as (file, size):
        data = file.read(max_bytes + 1) if size <= max_bytes else None
    if data is None or len(data) > max_bytes:
        raise OSError(f"it is larger than {max_bytes} bytes")
    return data
