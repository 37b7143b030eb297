"""Items that were appended to a model after its training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32
from service.core.engine_requests import AllowedRows

_LEAST_CAPACITY = 256


class _Storage:
    """Growing arrays of one sequence of appended items.

    All states of the sequence share them: what is written is never changed.
    """

    def __init__(self, dim: int) -> None:
        self.ids: list[str] = []
        self.rows: dict[str, int] = {}
        self.vectors: F32 = np.empty((0, dim), np.float32)
        self.inverse_norms: F32 = np.empty(0, np.float32)

    def reserve(self, count: int) -> None:
        """Make room for `count` items; earlier views keep the old arrays."""
        if count > len(self.vectors):
            capacity, used = max(_LEAST_CAPACITY, 1 << (count - 1).bit_length()), len(self.ids)
            vectors, norms = np.empty((capacity, self.vectors.shape[1]), np.float32), np.empty(capacity, np.float32)
            vectors[:used], norms[:used] = self.vectors[:used], self.inverse_norms[:used]
            self.vectors, self.inverse_norms = vectors, norms


class AppendedItems:
    """The first n appended items; immutable.

    Attributes:
        first: Row of the first one, V + 1.
        count: Their number n.
        last_row: The model's last row, V + n.
        vectors: (n, D)
        inverse_norms: (n,) one over the length of each vector.
    """

    def __init__(self, first: int, storage: _Storage, count: int) -> None:
        self.first, self.count, self._storage = first, count, storage
        self.last_row = first + count - 1
        self.vectors, self.inverse_norms = storage.vectors[:count], storage.inverse_norms[:count]

    @classmethod
    def none(cls, trained: int, dim: int) -> AppendedItems:
        """Return no items, for a model of so many trained ones."""
        return cls(trained + 1, _Storage(dim), 0)

    @cached_property
    def everything(self) -> AllowedRows:
        """All rows, trained and appended."""
        words = self.last_row // 32 + 1
        return AllowedRows(np.full(words, 0xFFFFFFFF, np.uint32), self.last_row, full=self.last_row)

    def row_of(self, item_id: str) -> int:
        """Return an item's row; 0 if it is not among these."""
        row = self._storage.rows.get(item_id, 0)
        return row if row <= self.last_row else 0

    def has_none_of(self, item_ids: Collection[str]) -> bool:
        """Return True only if none of the items is among these."""
        return not self.count or self._storage.rows.keys().isdisjoint(item_ids)

    def id_of(self, row: int) -> str:
        """Return the item of an appended row."""
        return self._storage.ids[row - self.first]

    def append(self, items: Sequence[tuple[str, NDArray[np.float32]]]) -> AppendedItems:
        """Return the items with others after them.

        Call it on the newest state only. Raises `ValueError` for an item that is there already, and for vectors that
        are not D finite numbers.
        """
        if not items:
            return self
        ids, storage = [item_id for item_id, _ in items], self._storage
        if len({*ids}) < len(ids) or any(map(self.row_of, ids)):
            raise ValueError("an item is appended twice")
        if any(vector.shape != self.vectors.shape[1:] for _, vector in items):
            raise ValueError(f"vectors have {self.vectors.shape[1]} numbers")
        vectors = np.array([vector for _, vector in items], np.float32)
        if not np.isfinite(vectors).all():
            raise ValueError("a vector holds NaN or infinite values")
        count = self.count + len(ids)
        storage.reserve(count)
        norms = np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float32).tiny)
        storage.vectors[self.count : count], storage.inverse_norms[self.count : count] = vectors, 1 / norms
        storage.ids += ids
        storage.rows.update(zip(ids, range(self.last_row + 1, self.last_row + 1 + len(ids)), strict=True))
        return AppendedItems(self.first, storage, count)
