"""From what the use cases return to what goes over the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from service.api.schemas import EventOut, ItemOut, RecommendationsOut
from service.core.events import Event
from service.core.ports import ScoredItem
from service.core.recommender import Answer


def source_of(answer: Answer) -> Literal["state", "cold_start"]:
    """What an answer was computed from."""
    return "cold_start" if answer.cold else "state"


def items_out(items: Iterable[ScoredItem]) -> list[ItemOut]:
    """Items; what the bundle does not know of them stays unset, and so out of the answer."""
    return [_item_out(item) for item in items]


def _item_out(item: ScoredItem) -> ItemOut:
    out = ItemOut(item_id=item.item_id, score=item.score)
    if item.title is not None:
        out.title = item.title
    if item.categories:
        out.categories = list(item.categories)
    return out


def recommendations_out(user_id: str, answer: Answer) -> RecommendationsOut:
    """An answer for a user of the log."""
    return RecommendationsOut(
        user_id=user_id,
        model_version=answer.model_version,
        sequence=answer.sequence,
        source=source_of(answer),
        items=items_out(answer.items),
    )


def event_out(event: Event) -> EventOut:
    """A committed event."""
    return EventOut(
        sequence=event.sequence, item_id=event.item_id, timestamp=event.timestamp, event_id=event.event_id
    )
