"""What the engine is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TopK(NamedTuple):
    """Ask for the `k` best items, without those of the user's history if `exclude_seen`."""

    k: int
    exclude_seen: bool


class RankCandidates(NamedTuple):
    """Ask for the scores of these items, best first; unknown ones come last with score None."""

    candidates: tuple[str, ...]


class EngineRequest(NamedTuple):
    """One user's work for the engine: fold `items`, oldest first, into `state` (None: a new history), then answer.

    `judged` are indices of `items`, ascending, all of known ones: where did each stand before it was folded?
    """

    state: bytes | None
    items: tuple[str, ...]
    ask: TopK | RankCandidates | None
    evaluated: tuple[int, ...] = ()


class ScoredItem(NamedTuple):
    """An item and its score (a dot product; higher is better; comparable within one answer only)."""

    item_id: str
    score: float | None
    title: str | None = None
    categories: tuple[str, ...] = ()


class TargetRank(NamedTuple):
    """Where an item stood in the order of a state's answers: 1 is the best, 0 nowhere.

    cold          no known item had reached the state
    among_all     among all items of the model; 0 beyond the first 100 where an index answers
    among_unseen  among those that `exclude_seen` leaves; 0 also for an item that it leaves out
    """

    cold: bool
    among_all: int
    among_unseen: int


class EngineResult(NamedTuple):
    """The state after a turn, its answer, whether no known item has ever reached the state; what `judged` asked."""

    state: bytes
    cold: bool
    items: Sequence[ScoredItem]
    ranks: tuple[TargetRank, ...] = ()


class StateDamagedError(Exception):
    """The engine was handed state bytes that cannot be its own."""
