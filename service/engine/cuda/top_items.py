"""Answers of a batch as arrays, which become items when somebody reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from model.bundle.bundle import Item
from model.state_layout import F32
from service.core.engine_requests import ScoredItem
from service.engine.state_codec_kernels import Index

# A named tuple made by its constructor costs a call of Python; this is one of C.
_scored = partial(tuple.__new__, ScoredItem)


class TopItems(Sequence[ScoredItem]):
    """One user's answer. Equal to the tuple of its items."""

    __slots__ = ("_batch", "_user")

    def __init__(self, batch: AnswerBatch, user: int) -> None:
        self._batch, self._user = batch, user

    def __len__(self) -> int:
        return int(self._batch.found[self._user])

    def __iter__(self) -> Iterator[ScoredItem]:
        return iter(self._batch.items_of(self._user))

    @overload
    def __getitem__(self, index: int) -> ScoredItem: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ScoredItem, ...]: ...
    def __getitem__(self, index: int | slice) -> ScoredItem | tuple[ScoredItem, ...]:
        return self._batch.items_of(self._user)[index]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, TopItems | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


class AnswerBatch:
    """Rows and scores (Q, k), best first; found (Q,): how many of a user's are answers."""

    __slots__ = ("_columns", "_rows", "_scores", "found")

    def __init__(self, columns: ItemColumns, rows: NDArray[np.int32], scores: F32, found: Index) -> None:
        self._columns, self._rows, self._scores, self.found = columns, rows, scores, found

    def items_of(self, user: int) -> tuple[ScoredItem, ...]:
        """The answer to one user."""
        count, (ids, titles, categories) = self.found[user], self._columns
        rows = self._rows[user, :count].tolist()
        scores = self._scores[user, :count].tolist()
        fields = zip(
            map(ids.__getitem__, rows), scores, map(titles.__getitem__, rows), map(categories.__getitem__, rows),
            strict=True,
        )  # fmt: skip
        return tuple(map(_scored, fields))


class ItemColumns(NamedTuple):
    """Ids, titles and categories by row; row 0 is none."""

    ids: list[str]
    titles: list[str | None]
    categories: list[tuple[str, ...]]

    @classmethod
    def of(cls, items: Sequence[Item]) -> ItemColumns:
        """The columns of a bundle's items."""
        return cls(
            ["", *(item.item_id for item in items)],
            [None, *(item.title for item in items)],
            [(), *(item.categories for item in items)],
        )
