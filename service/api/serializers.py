"""Conversion of results to JSON, in the shapes that `schemas.responses` declares.

Results become plain dicts that pydantic-core serializes. Building response models instead would cost several times
as much as the serialization.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import Response
from pydantic_core import to_json

from service.api.schemas.responses import EventOut
from service.core.engine_requests import ScoredItem
from service.core.events import Event
from service.core.recommending.results import Answer, Recorded

Json = dict[str, Any]

_SOURCES = {True: "cold_start", False: "state"}


def encoded(body: Json) -> bytes:
    """Encode `body` as JSON in UTF-8."""
    return to_json(body, inf_nan_mode="null")


def json_response(body: bytes) -> Response:
    """Build a response with status 200 from encoded JSON."""
    return Response(body, media_type="application/json")


def items_out(items: Iterable[ScoredItem]) -> list[Json]:
    """Convert to a list of `ItemOut`."""
    out = []
    for item in items:
        fields: Json = {"item_id": item.item_id, "score": item.score}
        if item.title is not None:
            fields["title"] = item.title
        if item.categories:
            fields["categories"] = item.categories
        out.append(fields)
    return out


def anonymous_out(answer: Answer) -> Json:
    """Convert to `ItemsOut`."""
    return {"model_version": answer.model_version, "source": _SOURCES[answer.cold], "items": items_out(answer.items)}


def recommendations_out(user_id: str, answer: Answer) -> Json:
    """Convert to `RecommendationsOut`."""
    return {
        "user_id": user_id,
        "model_version": answer.model_version,
        "sequence": answer.sequence,
        "source": _SOURCES[answer.cold],
        "items": items_out(answer.items),
    }


def recorded_out(user_id: str, recorded: Recorded) -> Json:
    """Convert to `RecordedOut`, without its recommendations."""
    return {
        "user_id": user_id,
        "sequence": recorded.sequence,
        "duplicate": recorded.duplicate,
        "known_item": recorded.known_item,
    }


def event_out(event: Event) -> EventOut:
    """Convert to `EventOut`."""
    return EventOut(
        sequence=event.sequence, item_id=event.item_id, timestamp=event.timestamp, event_id=event.event_id
    )
