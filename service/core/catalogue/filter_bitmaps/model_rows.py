"""Rows of one model's embedding table in the catalogue's columns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.growing_array import GrowingArray
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.engine_requests import AllowedRows, Lineage

_WORD_BITS = 32
_CHUNK = 2048  # of which the rows are added at once: two milliseconds

InThread = Callable[[Callable[[], NDArray[np.int64]]], Awaitable[NDArray[np.int64]]]


class ModelRows:
    """Mapping of a model's rows onto the rows of the columns.

    The first model's items get the same rows, so nothing needs to be mapped for it. Rows of items that were appended
    to a model follow its trained ones. They are added on the event loop; a thread that works on an older count is
    not disturbed.

    Attributes:
        trained: Number of trained items, V.
        count: Number of all items.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        """Map row `i + 1` of the model onto rows[i] here."""
        self.trained = self.count = len(rows)
        self._rows: NDArray[np.int64] | None = None
        if not np.array_equal(rows, np.arange(1, self.trained + 1)):
            self._rows = np.concatenate([np.zeros(1, np.int64), rows])
            self._model_rows = np.zeros(int(self._rows.max()) + 1, np.int32)
            self._model_rows[rows] = np.arange(1, self.trained + 1)
        self._appended: GrowingArray[np.int64] = GrowingArray(np.int64)
        self._appended_rows: dict[int, int] = {}  # of the columns, and their numbers in the model

    def append(self, rows: Sequence[int]) -> None:
        """Add the columns' rows of appended items."""
        appended = self.count - self.trained
        self._appended.reserve(appended + len(rows))
        self._appended.write(slice(appended, appended + len(rows)), rows)
        self._appended_rows.update(zip(rows, range(self.count + 1, self.count + 1 + len(rows)), strict=True))
        self.count += len(rows)

    def truncate(self) -> ModelRows:
        """Return the mapping of the trained items only."""
        found = copy(self)
        found.count, found._appended, found._appended_rows = self.trained, GrowingArray(np.int64), {}
        return found

    def columns_rows(self, columns: ItemColumns) -> int:
        """Return how many rows of the columns have to be evaluated."""
        return self.trained + 1 if self._rows is None and self.count == self.trained else columns.row_count

    def allowed(
        self, passes: NDArray[np.bool_], lineage: Lineage | None = None, count: int | None = None
    ) -> AllowedRows:
        """Convert what is allowed by column row.

        Args:
            passes: (rows of the columns,) what is allowed.
            lineage: That of the filter; None is a new one.
            count: Number of the model's items that are converted; None: all.
        """
        count = self.count if count is None else count
        found = passes[: self.trained + 1] if self._rows is None else passes[self._rows]
        found[0] = False
        padded = np.zeros((count // _WORD_BITS + 1) * _WORD_BITS, np.bool_)
        padded[: self.trained + 1] = found
        padded[self.trained + 1 : count + 1] = passes[self._appended.data[: count - self.trained]]
        trained, total = int(np.count_nonzero(found)), int(np.count_nonzero(padded))
        full = count if total == count else self.trained if trained == self.trained else 0
        return AllowedRows(np.packbits(padded, bitorder="little").view(np.uint32), total, lineage or Lineage(), full)

    def select(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return those rows that the model has, and their numbers there."""
        model_rows = np.zeros(len(rows), np.int64)
        if self._rows is None:
            inside = rows <= self.trained
            model_rows[inside] = rows[inside]
        else:
            inside = rows < len(self._model_rows)
            model_rows[inside] = self._model_rows[rows[inside]]
        if appended := self._appended_rows:
            for n in np.flatnonzero(model_rows == 0).tolist():
                model_rows[n] = appended.get(int(rows[n]), 0)
        return rows[model_rows > 0], model_rows[model_rows > 0]

    def full(self, bitmap: NDArray[np.uint32], allowed: int) -> int:
        """Return the last row up to which all are allowed.

        0 if that is not known; see `AllowedRows`.
        """
        if allowed == self.count:
            return self.count
        if self.count == self.trained:  # then a search has no use for it
            return 0
        words, rest = divmod(self.trained + 1, _WORD_BITS)
        bits = int(np.bitwise_count(bitmap[:words]).sum())
        if rest:
            bits += (int(bitmap[words]) & ((1 << rest) - 1)).bit_count()
        return self.trained if bits == self.trained else 0


def patched(
    allowed: AllowedRows, model_rows: NDArray[np.int64], passes: NDArray[np.bool_], model: ModelRows
) -> AllowedRows:
    """Return a copy with the bits of distinct rows replaced."""
    words, bits = model_rows // _WORD_BITS, np.uint32(1) << (model_rows % _WORD_BITS).astype(np.uint32)
    known = np.minimum(words, len(allowed.bitmap) - 1)
    before = ((allowed.bitmap[known] & bits) != 0) & (words == known)
    if np.array_equal(before, passes):
        return allowed
    bitmap: NDArray[Any] = np.zeros(max(len(allowed.bitmap), int(words.max()) + 1), np.uint32)
    bitmap[: len(allowed.bitmap)] = allowed.bitmap
    on, off = passes & ~before, before & ~passes
    np.bitwise_or.at(bitmap, words[on], bits[on])
    np.bitwise_and.at(bitmap, words[off], ~bits[off])
    count = allowed.count + int(np.count_nonzero(on)) - int(np.count_nonzero(off))
    return AllowedRows(bitmap, count, allowed.lineage, model.full(bitmap, count))


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
        self._appended: dict[str, list[str]] = {}
        self._epochs: dict[str, int] = {}
        self._is_needed = False

    async def add(self, version: str, item_ids: Sequence[str]) -> None:
        """Add a model, whose rows 1..V are these items."""
        self._models[version] = item_ids
        if self._is_needed:
            await self.rows(version)

    def remove(self, version: str) -> None:
        """Forget a model."""
        self._models.pop(version, None)
        self._appended.pop(version, None)

    def epoch(self, version: str) -> int:
        """Return a number that changes when appended items are replaced."""
        return self._epochs.get(version, 0)

    def extend(self, version: str, first: int, item_ids: Sequence[str]) -> list[int]:
        """Append items to a model; return their rows in the columns.

        There are none until the model is mapped. The items are its appended items `first`, `first` + 1 and so on.
        After a failover there may be others of these numbers: they and all after them are replaced.
        """
        if (model := self._models.get(version)) is None:
            return []
        appended = self._appended.setdefault(version, [])
        if first - 1 > len(appended):
            raise ValueError(f"item {first} does not follow {len(appended)} appended ones")
        if first - 1 < len(appended):
            del appended[first - 1 :]
            self._epochs[version] = self.epoch(version) + 1
            if isinstance(model, ModelRows):
                self._models[version] = model = model.truncate()
                self._append(model, appended)
        appended += item_ids
        return self._append(model, item_ids) if isinstance(model, ModelRows) else []

    def _append(self, model: ModelRows, item_ids: Sequence[str]) -> list[int]:
        rows: list[int] = self._columns.add_rows(item_ids).tolist() if item_ids else []
        model.append(rows)
        return rows

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
                self._models[version] = mapped = map_model_now(model, self._columns)
                self._append(mapped, self._appended.get(version, ()))

    async def rows(self, version: str) -> ModelRows:
        """Return the rows of a model's items."""
        model = self._models[version]
        if not isinstance(model, ModelRows):
            mapped = await map_model(model, self._columns, self._in_thread)
            model = self._models.get(version, mapped)  # perhaps mapped or removed meanwhile
            if not isinstance(model, ModelRows):
                model = self._models[version] = mapped
                self._append(model, self._appended.get(version, ()))
        return model
