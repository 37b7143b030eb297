"""From what the use cases return to what goes over the wire: plain values, in the shapes that `schemas` declares.

Compiled code serialises them as they are. Response models on the way would cost several times the serialisation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import Response
from pydantic_core import to_json

from service.api.schemas.requests import EventOut
from service.core.engine_requests import ScoredItem
from service.core.events import Event
from service.core.recommending.results import Answer, Recorded

Json = dict[str, Any]


def encoded(answer: Json) -> bytes:
    """`answer` as JSON in UTF-8."""
    return to_json(answer, inf_nan_mode="null")


def json_response(body: bytes) -> Response:
    """The answer of status 200 with a body that is JSON already."""
    return Response(body, media_type="application/json")


def items_out(items: Iterable[ScoredItem]) -> list[Json]:
    """`ItemOut`; what the bundle does not know of an item is left out."""
    return [_item_out(item) for item in items]


def _item_out(item: ScoredItem) -> Json:
    out: Json = {"item_id": item.item_id, "score": item.score}
    if item.title is not None:
        out["title"] = item.title
    if item.categories:
        out["categories"] = item.categories
    return out


def anonymous_out(answer: Answer) -> Json:
    """`ItemsOut`: an answer for nobody in particular."""
    return {"model_version": answer.model_version, "source": _source(answer), "items": items_out(answer.items)}


def recommendations_out(user_id: str, answer: Answer) -> Json:
    """`RecommendationsOut`: an answer for a user of the log."""
    return {
        "user_id": user_id,
        "model_version": answer.model_version,
        "sequence": answer.sequence,
        "source": _source(answer),
        "items": items_out(answer.items),
    }


def recorded_out(user_id: str, recorded: Recorded) -> Json:
    """`RecordedOut` without recommendations."""
    return {
        "user_id": user_id,
        "sequence": recorded.sequence,
        "duplicate": recorded.duplicate,
        "known_item": recorded.known_item,
    }


def event_out(event: Event) -> EventOut:
    """A committed event."""
    return EventOut(
        sequence=event.sequence, item_id=event.item_id, timestamp=event.timestamp, event_id=event.event_id
    )


def _source(answer: Answer) -> str:
    return "cold_start" if answer.cold else "state"
