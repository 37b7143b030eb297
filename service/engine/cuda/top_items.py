"""Answers of a batch as arrays, which become items when somebody reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from model.bundle.bundle import Item
from model.state_layout import F32
from service.core.engine_requests import ScoredItem
from service.engine.state_codec_kernels import Index


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

    __slots__ = ("_items", "_rows", "_scores", "found")

    def __init__(self, items: Sequence[Item], rows: Index, scores: F32, found: Any) -> None:
        self._items, self._rows, self._scores = items, rows, scores
        self.found = np.asarray(found)

    def items_of(self, user: int) -> tuple[ScoredItem, ...]:
        """The answer to one user."""
        items, count = self._items, int(self.found[user])
        chosen = [items[row - 1] for row in self._rows[user, :count].tolist()]
        scores = self._scores[user, :count].tolist()
        return tuple(
            [ScoredItem(i.item_id, score, i.title, i.categories) for i, score in zip(chosen, scores, strict=True)]
        )
