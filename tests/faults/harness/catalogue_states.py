"""States of catalogue entries, and questions that select them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from service.core.catalogue.attributes import from_microseconds

PAST, FUTURE = 1_000_000_000_000_000, 4_000_000_000_000_000  # microseconds
SOON_SECONDS = 20.0  # times within reach of the test, in both directions
TYPES = {"number": "number", "price": "number", "sale": "bool", "tags": "strings", "until": "time"}


@dataclass(frozen=True, slots=True)
class ItemState:
    """An entry of the catalogue.

    `number` tells it from every other state of the item. `until` is in microseconds.
    """

    number: int = 0
    available: bool = True
    deleted: bool = False
    price: float | None = None
    sale: bool | None = None
    tags: tuple[str, ...] | None = None
    until: int | None = None


NO_ENTRY = ItemState()


@dataclass(frozen=True, slots=True)
class Question:
    """A filter, and the same condition in Python.

    `passes` takes a state and the time of now() in microseconds.
    """

    body: dict[str, Any]
    passes: Callable[[ItemState, int], bool]


QUESTIONS = (
    Question({}, lambda state, now: True),
    Question({"filter": "price < 50"}, lambda state, now: state.price is not None and state.price < 50),
    Question({"filter": "NOT sale"}, lambda state, now: state.sale is False),
    Question({"filter": "'x' IN tags AND 'y' IN tags"}, lambda state, now: {"x", "y"} <= set(state.tags or ())),
    Question({"filter": "until > now()"}, lambda state, now: state.until is not None and state.until > now),
    Question(
        {"filter": "price IS NULL OR price >= :least", "params": {"least": 50}},
        lambda state, now: state.price is None or state.price >= 50,
    ),
)


def next_write(
    rng: random.Random, before: ItemState | None, number: int
) -> tuple[ItemState, str, dict[str, Any] | None]:
    """Choose a write; return the state after it, and its request.

    A number is an attribute of every entry that is not deleted, so that states differ.
    """
    choice = rng.random()
    if before is None or before.deleted or choice < 0.3:
        state = _random_state(rng, number)
        return state, *whole_write(state)
    if choice < 0.4:
        state = ItemState(number, available=False, deleted=True)
        return state, *whole_write(state)
    state = replace(before, number=number, available=not before.available)
    return state, "PATCH", {"available": state.available, "attributes": {"number": number}}


def whole_write(state: ItemState) -> tuple[str, dict[str, Any] | None]:
    """Return method and body of the request that writes a whole state."""
    if state.deleted:
        return "DELETE", None
    return "PUT", {"available": state.available, "attributes": _attributes(state)}


def _random_state(rng: random.Random, number: int) -> ItemState:
    soon = int(1e6 * (time.time() + rng.uniform(-SOON_SECONDS, SOON_SECONDS)))
    until = rng.choice((PAST, FUTURE, soon))
    tags = tuple(sorted(rng.sample(("x", "y", "z"), rng.randrange(4))))
    return ItemState(number, rng.random() < 0.7, False, float(rng.randrange(100)), rng.random() < 0.5, tags, until)


def _attributes(state: ItemState) -> dict[str, Any]:
    assert state.until is not None
    until = from_microseconds(state.until).isoformat()
    return {"number": state.number, "price": state.price, "sale": state.sale, "tags": state.tags, "until": until}
