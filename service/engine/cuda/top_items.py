"""Answers as arrays, which become items when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64
from service.core.engine_requests import ScoredItem, scored_item


class AnswerBatch(NamedTuple):
    """Answers to Q queries.

    ids      ids of the items by row; row 0 is empty
    rows     (Q, K), best first
    scores   (Q, K)
    lengths  (Q,) how many entries of each line are valid
    """

    ids: list[str]
    rows: NDArray[np.int32]
    scores: F32
    lengths: I64

    def items_of(self, query: int) -> tuple[ScoredItem, ...]:
        """Return the items of one answer."""
        length = self.lengths[query]
        rows = self.rows[query, :length].tolist()
        scores = self.scores[query, :length].tolist()
        fields = zip(map(self.ids.__getitem__, rows), scores, repeat(True, len(rows)), strict=True)
        return tuple(map(scored_item, fields))


class TopItems(Sequence[ScoredItem]):
    """One answer of a batch; equal to the tuple of its items."""

    __slots__ = ("_batch", "_query")

    def __init__(self, batch: AnswerBatch, query: int) -> None:
        self._batch, self._query = batch, query

    def __len__(self) -> int:
        return int(self._batch.lengths[self._query])

    def __iter__(self) -> Iterator[ScoredItem]:
        return iter(self._batch.items_of(self._query))

    @overload
    def __getitem__(self, index: int) -> ScoredItem: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ScoredItem, ...]: ...
    def __getitem__(self, index: int | slice) -> ScoredItem | tuple[ScoredItem, ...]:
        return self._batch.items_of(self._query)[index]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, TopItems | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))
