"""Requests to the engine and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Lineage:
    """Identity of a filter whose rows change."""

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True, eq=False)
class AllowedRows:
    """Rows of one model's embedding table that may be in an answer.

    Immutable, and shared by all requests with one filter; searches compare it by identity. Row 0 is not an item.

    Attributes:
        bitmap: uint32, little-endian; bit `row % 32` of word `row // 32` is set if allowed. It has a word for each
            trained row at least. Appended rows beyond it are not allowed; bits of row 0 and beyond are ignored.
        count: Number of allowed rows; decides only how to search.
        lineage: The same for all states of one filter, so that a search may keep what it computed from an older one.
        full: Rows 1 to `full` are all allowed, which saves a search the tests; 0 if that is not known.
    """

    bitmap: NDArray[np.uint32]
    count: int
    lineage: Lineage = field(default_factory=Lineage)
    full: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` for an array that kernels would be compiled anew for."""
        flags = self.bitmap.flags
        if self.bitmap.dtype != np.uint32 or self.bitmap.ndim != 1 or not (flags.c_contiguous and flags.writeable):
            raise ValueError("a bitmap is a contiguous array of uint32 that is not marked read-only")

    def contains(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether each row is allowed; 0 is no row."""
        words = rows >> 5
        inside = words < len(self.bitmap)
        bits = self.bitmap[np.where(inside, words, 0)] >> (rows & 31).astype(np.uint32)
        found: NDArray[np.bool_] = (bits & 1).astype(np.bool_) & inside
        return found

    def mask(self, rows: int) -> NDArray[np.bool_]:
        """Return (rows,) whether each row is allowed; row 0 is not."""
        bits = np.unpackbits(self.bitmap.astype("<u4").view(np.uint8), count=rows, bitorder="little").view(np.bool_)
        bits[0] = False
        return bits

    @classmethod
    def of(cls, allowed: NDArray[np.bool_]) -> AllowedRows:
        """Return the rows that are True in `allowed` (V + 1,).

        The first entry is ignored.
        """
        bits = np.zeros(-(-len(allowed) // 32) * 32, np.bool_)
        bits[1 : len(allowed)] = allowed[1:]
        return cls(np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32), int(bits.sum()))


class EventExclusion(NamedTuple):
    """A question's wish to leave out items with events of a type.

    `type` is as events have it. The age is that of the event's timestamp; None: any.
    """

    type: str
    max_age_seconds: float | None


class TopK(NamedTuple):
    """Query for the `k` best items.

    With `exclude_seen` the items of the user's history are left out. The items of `exclude` always are. Only
    `allowed` rows are returned; None allows all trained ones. The recommender replaces `exclude_events` by the items.
    """

    k: int
    exclude_seen: bool
    allowed: AllowedRows | None = None
    exclude: tuple[str, ...] = ()
    exclude_events: tuple[EventExclusion, ...] = ()


class RankCandidates(NamedTuple):
    """Query for the scores of these items, best first.

    Unknown items are last, with score None. What excludes an item decides on `ScoredItem.eligible` only.
    """

    candidates: tuple[str, ...]
    allowed: AllowedRows | None = None
    exclude: tuple[str, ...] = ()
    exclude_events: tuple[EventExclusion, ...] = ()


Query = TopK | RankCandidates


class EngineRequest(NamedTuple):
    """Replay `items` onto `state`, then answer `query`: one user's request.

    Attributes:
        state: The state to begin from; None for a new history.
        items: Item ids to replay, oldest first.
        query: The query to answer from the new state, if any.
        evaluated: Ascending indices of known `items` whose rank is wanted under the state before their replay.
        types: The types of the events of `items`; empty if all have the default type.
    """

    state: bytes | None
    items: tuple[str, ...]
    query: Query | None
    evaluated: tuple[int, ...] = ()
    types: tuple[str, ...] = ()


class ScoredItem(NamedTuple):
    """An item and its score.

    The score is a dot product: higher is better, and comparable within one answer only.

    Attributes:
        eligible: Whether the item may be recommended: the model knows it, and the query allows it. Only ranked
            candidates can be without.
    """

    item_id: str
    score: float | None
    eligible: bool = True


# Makes an item of its three fields by one call in C; the constructor of a named tuple is one in Python.
scored_item = partial(tuple.__new__, ScoredItem)


class TargetRank(NamedTuple):
    """Rank of a target item under one state.

    1 is the best, 0 stands for no rank.

    Attributes:
        cold: Whether the state had replayed no known item.
        among_all: The rank among all items of the model; 0 beyond the first 100 if an index searches.
        among_unseen: The rank among the items that `exclude_seen` leaves; 0 also for a seen target.
    """

    cold: bool
    among_all: int
    among_unseen: int


class EngineResult(NamedTuple):
    """Result of one `EngineRequest`.

    Attributes:
        state: The state after the replay.
        cold: Whether the state has replayed no known item.
        items: The answer to the query; empty without one.
        ranks: One rank for each index of `evaluated`, in order.
    """

    state: bytes
    cold: bool
    items: Sequence[ScoredItem]
    ranks: tuple[TargetRank, ...] = ()
