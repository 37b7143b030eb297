"""Rows of one model's embedding table in the catalogue's columns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.engine_requests import AllowedRows, Lineage

_WORD_BITS = 32
_CHUNK = 2048  # of which the rows are added at once: two milliseconds

InThread = Callable[[Callable[[], NDArray[np.int64]]], Awaitable[NDArray[np.int64]]]


class ModelRows:
    """Mapping of a model's rows 1..V onto the rows of the columns.

    The first model's items get the same rows, so nothing needs to be mapped for it.

    Attributes:
        count: Number of items, V.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        """Map row `i + 1` of the model onto rows[i] here."""
        self.count = len(rows)
        self._rows: NDArray[np.int64] | None = None
        if not np.array_equal(rows, np.arange(1, self.count + 1)):
            self._rows = np.concatenate([np.zeros(1, np.int64), rows])
            self._model_rows = np.zeros(int(self._rows.max()) + 1, np.int32)
            self._model_rows[rows] = np.arange(1, self.count + 1)

    def columns_rows(self, columns: ItemColumns) -> int:
        """Return how many rows of the columns have to be evaluated."""
        return self.count + 1 if self._rows is None else columns.row_count

    def allowed(self, passes: NDArray[np.bool_], lineage: Lineage | None = None) -> AllowedRows:
        """Convert what is allowed by column row.

        A `lineage` of None is a new one.
        """
        found = passes[: self.count + 1] if self._rows is None else passes[self._rows]
        found[0] = False
        padded = np.zeros(-(-(self.count + 1) // _WORD_BITS) * _WORD_BITS, np.bool_)
        padded[: self.count + 1] = found
        bitmap = np.packbits(padded, bitorder="little").view(np.uint32)
        return AllowedRows(bitmap, int(np.count_nonzero(found)), lineage or Lineage())

    def select(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return those rows that the model has, and their numbers there."""
        if self._rows is None:
            rows = rows[rows <= self.count]
            return rows, rows
        rows = rows[rows < len(self._model_rows)]
        model_rows = self._model_rows[rows].astype(np.int64)
        return rows[model_rows > 0], model_rows[model_rows > 0]


def patched(allowed: AllowedRows, model_rows: NDArray[np.int64], passes: NDArray[np.bool_]) -> AllowedRows:
    """Return a copy with the bits of distinct rows replaced."""
    words, bits = model_rows // _WORD_BITS, np.uint32(1) << (model_rows % _WORD_BITS).astype(np.uint32)
    before = (allowed.bitmap[words] & bits) != 0
    if np.array_equal(before, passes):
        return allowed
    bitmap: NDArray[Any] = allowed.bitmap.copy()
    on, off = passes & ~before, before & ~passes
    np.bitwise_or.at(bitmap, words[on], bits[on])
    np.bitwise_and.at(bitmap, words[off], ~bits[off])
    count = allowed.count + int(np.count_nonzero(on)) - int(np.count_nonzero(off))
    return AllowedRows(bitmap, count, allowed.lineage)


async def map_model(item_ids: Sequence[str], columns: ItemColumns, in_thread: InThread) -> ModelRows:
    """Map a model's items, adding rows for those that have none.

    Looks them up in a thread, and adds a few at a time.
    """
    rows = np.zeros(len(item_ids), np.int64)
    for start in range(0, len(item_ids), _CHUNK):
        chunk = item_ids[start : start + _CHUNK]
        found = await in_thread(partial(columns.rows_of, chunk))
        # Some may have got a row since the thread looked.
        missing = np.flatnonzero(found == 0)
        found[missing] = columns.rows_of([chunk[index] for index in missing.tolist()])
        missing = np.flatnonzero(found == 0)
        found[missing] = columns.add_rows([chunk[index] for index in missing.tolist()])
        rows[start : start + _CHUNK] = found
    return ModelRows(rows)


def map_model_now(item_ids: Sequence[str], columns: ItemColumns) -> ModelRows:
    """Do the same at once."""
    return ModelRows(np.fromiter(map(columns.add_row, item_ids), np.int64, len(item_ids)))


class KnownModels:
    """Models by version, and the rows of their items.

    Rows are made when the first item is put, or in steps before that.
    """

    def __init__(self, columns: ItemColumns, in_thread: InThread) -> None:
        """Create it without models; `in_thread` runs lookups beside the event loop."""
        self._columns = columns
        self._in_thread = in_thread
        self._models: dict[str, ModelRows | Sequence[str]] = {}
        self._is_needed = False

    async def add(self, version: str, item_ids: Sequence[str]) -> None:
        """Add a model, whose rows 1..V are these items."""
        self._models[version] = item_ids
        if self._is_needed:
            await self.rows(version)

    def remove(self, version: str) -> None:
        """Forget a model."""
        self._models.pop(version, None)

    async def prepare(self) -> None:
        """Make the rows of all models."""
        self._is_needed = True
        for version in list(self._models):
            if version in self._models:
                await self.rows(version)

    def prepare_now(self) -> None:
        """Make the rows of all models at once."""
        self._is_needed = True
        for version, model in self._models.items():
            if not isinstance(model, ModelRows):
                self._models[version] = map_model_now(model, self._columns)

    async def rows(self, version: str) -> ModelRows:
        """Return the rows of a model's items."""
        model = self._models[version]
        if not isinstance(model, ModelRows):
            mapped = await map_model(model, self._columns, self._in_thread)
            model = self._models.get(version, mapped)  # perhaps mapped or removed meanwhile
            if not isinstance(model, ModelRows):
                model = self._models[version] = mapped
        return model
