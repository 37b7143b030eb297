"""Contract of the local snapshot of the catalogue's columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class StoredColumns(NamedTuple):
    """Content of a snapshot.

    Attributes:
        description: What `SnapshotWriter.finish` was given.
        arrays: By name. A write to one changes a copy of the page in this process only.
    """

    description: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


class SnapshotWriter(Protocol):
    """Snapshot that is being written. Its methods block, and raise `OSError`."""

    def add(self, name: str, dtype: np.dtype[Any], parts: Iterable[NDArray[Any]]) -> None:
        """Write an array, whose parts follow one another."""
        ...

    def finish(self, description: Mapping[str, Any]) -> int:
        """Replace the snapshot by this one; return its bytes."""
        ...

    def close(self) -> None:
        """Drop what is not finished."""
        ...


class ColumnSnapshots(Protocol):
    """Place of one snapshot, shared by the workers. Its methods block."""

    def load(self) -> StoredColumns | None:
        """Return the checked snapshot; None if none can be used."""
        ...

    def describe(self) -> tuple[Mapping[str, Any], float] | None:
        """Return description and age in seconds, with unchecked arrays."""
        ...

    def begin(self) -> SnapshotWriter | None:
        """Begin to write a snapshot; None while another process does.

        Raises `OSError`.
        """
        ...
