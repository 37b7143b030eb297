"""Response bodies: the answers to frequent requests, and results as JSON.

Results become plain dicts, in the shapes that `schemas.responses` declares, which pydantic-core serializes. Building
response models instead would cost several times as much as the serialization.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from fastapi import Response
from pydantic_core import to_json

from service.api import costs
from service.api.caller import Caller
from service.api.schemas.requests import EventIn, RecordQuery, TopKQuery
from service.api.schemas.responses import EventOut
from service.api.work_thread import in_work_thread
from service.core.engine_requests import ScoredItem, TopK
from service.core.events import Event, NewEvent
from service.core.recommending.recommender import Recommender
from service.core.recommending.results import Answer, Recorded

Json = dict[str, Any]

_SOURCES = {True: "cold_start", False: "state"}

MAX_INLINE_ITEMS = 500  # of an answer that is encoded on the event loop, in 0.3 ms

encoded = partial(to_json, inf_nan_mode="null")  # JSON in UTF-8


async def answer_event(recommender: Recommender, event: EventIn, query: RecordQuery, caller: Caller) -> bytes:
    """Append an event, and return the response body of `POST /v1/events`.

    The route and the fast path share this function and the next.
    """
    if caller.user_id is not None:
        caller.check_user(event.user_id)
    top_k = None
    if query.k is not None:
        top_k = TopK(query.k, query.exclude_seen)
        if caller.account is not None:
            caller.charge(costs.of_items(query.k))
    new = NewEvent.create(event.item_id, event.timestamp, event.event_id, time.time())
    recorded = await recommender.record(event.user_id, new, top_k)
    out = recorded_out(event.user_id, recorded)
    if top_k is not None:
        answer = recorded.answer
        if answer is not None and len(answer.items) > MAX_INLINE_ITEMS:
            return await in_work_thread(_encoded_event, out, event.user_id, answer)
        out["recommendations"] = None if answer is None else recommendations_out(event.user_id, answer)
    return encoded(out)


def _encoded_event(out: Json, user_id: str, answer: Answer) -> bytes:
    return encoded({**out, "recommendations": recommendations_out(user_id, answer)})


async def answer_recommendations(recommender: Recommender, user_id: str, query: TopKQuery, caller: Caller) -> bytes:
    """Return the response body of `GET /v1/users/{user_id}/recommendations`."""
    caller.charge(costs.of_items(query.k))
    answer = await recommender.recommend(user_id, TopK(query.k, query.exclude_seen))
    if len(answer.items) > MAX_INLINE_ITEMS:
        return await in_work_thread(lambda: encoded(recommendations_out(user_id, answer)))
    return encoded(recommendations_out(user_id, answer))


async def encode_answer(answer: Answer, convert: Callable[[Answer], Json]) -> bytes:
    """Return an answer's JSON; encode a long one in the thread."""
    if len(answer.items) > MAX_INLINE_ITEMS:
        return await in_work_thread(lambda: encoded(convert(answer)))
    return encoded(convert(answer))


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
