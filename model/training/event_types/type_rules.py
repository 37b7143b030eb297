"""Choose the rules of event types by how often the types occur."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.errors import DataError
from model.bundle.event_types import DEFAULT_TYPE, EventType, EventTypes
from model.training.event_types.type_column import TypeColumn

IMPRESSION, DISLIKE = "impression", "dislike"
MAX_TYPES = 64
# A rare type says more of what a shop lives on: of a hundred views, one may be followed by a purchase.
_MAX_WEIGHT = 5.0
_DISLIKE_WEIGHT = -0.02
_CHUNK_EVENTS = 1 << 22  # at a time


def choose_rules(counts: Mapping[str, int]) -> EventTypes | None:
    """Choose the rules of the types that a log has.

    Returns None if a model need not tell them apart.

    A positive type that is n times rarer than the most frequent one weighs sqrt(n) times as much as a target, at
    most 5 times. Dislikes are replayed, and make their items less likely. Impressions are ignored.

    Args:
        counts: events of each type by name.

    Raises:
        DataError: there are too many types.
    """
    names = sorted((name for name in counts if counts[name] and name != IMPRESSION), key=lambda name: -counts[name])
    if len(names) < 2 and DISLIKE not in names:
        return None
    ordered = [DEFAULT_TYPE, *(name for name in names if name != DEFAULT_TYPE)]
    if len(ordered) > MAX_TYPES:
        raise DataError(f"the events have {len(ordered)} types, more than {MAX_TYPES}; is this the column of types?")
    most = max((counts[name] for name in names if name != DISLIKE), default=1)
    return {name: _rule(name, most / max(1, counts.get(name, most))) for name in ordered}


def without_impressions(types: pa.Array) -> NDArray[np.bool_] | None:
    """Return which events (n,) are no impressions, None if none is one."""
    kept: NDArray[np.bool_] = pc.fill_null(pc.not_equal(types, IMPRESSION), True).to_numpy(zero_copy_only=False)
    return None if kept.all() else kept


def type_column(codes: NDArray[np.uint8], names: Sequence[str]) -> TypeColumn | None:
    """Return the types of events, None if one would do.

    Args:
        codes: (N,) index into `names` of each event's type, replaced by its number; empty if all have the same.
        names: names of the types. Impressions are not among the events.
    """
    counts = np.zeros(len(names), np.int64)
    for begin in range(0, len(codes), _CHUNK_EVENTS):
        counts += np.bincount(codes[begin : begin + _CHUNK_EVENTS], minlength=len(names))
    rules = choose_rules(dict(zip(names, counts.tolist(), strict=True)))
    if rules is None:
        return None
    number = {name: number for number, name in enumerate(rules)}
    renumbered = np.array([number.get(name, 0) for name in names], np.uint8)
    for begin in range(0, len(codes), _CHUNK_EVENTS):
        codes[begin : begin + _CHUNK_EVENTS] = renumbered[codes[begin : begin + _CHUNK_EVENTS]]
    return TypeColumn(codes, rules)


def _rule(name: str, rarity: float) -> EventType:
    if name == DISLIKE:
        return EventType("replayed", _DISLIKE_WEIGHT, False)
    return EventType("replayed", round(min(_MAX_WEIGHT, rarity**0.5), 2), True)
