"""Response bodies: the answers to frequent requests, and results as JSON.

Results become plain dicts, in the shapes that `schemas.responses` declares, which pydantic-core serializes. Building
response models instead would cost several times as much as the serialization.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from fastapi import Response

from service.api import request_costs
from service.api.caller import Caller
from service.api.schemas.item_fields import PLAIN, ItemFields, Json, fields_of, fields_of_many, value_out
from service.api.schemas.requests import QuestionEventIn, QuestionIn, RecordQuery, TopKQuery
from service.api.schemas.responses import EventOut
from service.api.schemas.restrictions import RESTRICTING_FIELDS, UNRESTRICTED, Restrictions
from service.api.work_thread import LARGE_ROWS, encode_long, encoded, in_work_thread
from service.core.engine_requests import ScoredItem, TopK
from service.core.errors import InvalidRequest
from service.core.event_fields import DEFAULT_TYPE
from service.core.events import Event
from service.core.recommending.eligibility import ALWAYS_PRESENT, EVERYTHING
from service.core.recommending.recommender import Recommender
from service.core.recommending.results import Answer, Recorded

_NO_QUESTION = InvalidRequest(
    "filter, exclude, exclude_events and fields limit recommendations: send k too",
    details=[{"field": "k", "problem": "is required with filter, filter_name, exclude, exclude_events or fields"}],
)
_SOURCES = {True: "cold_start", False: "state"}

MAX_INLINE_ITEMS = 500  # of an answer that is encoded on the event loop, in 0.3 ms
MAX_INLINE_ENTRIES = 100  # the same of items with an entry in the catalogue, which has up to 16 KB
_SLICE_ITEMS = 250


async def answer_event(recommender: Recommender, event: QuestionEventIn, query: RecordQuery, caller: Caller) -> bytes:
    """Append an event, and return the response body of `POST /v1/events`.

    The route and the fast path share this function and the next.
    """
    if caller.user_id is not None:
        caller.check_user(event.user_id)
    restrictions = query.restrictions
    if event.model_fields_set & RESTRICTING_FIELDS:
        restrictions = restrictions.joined(event.question())
    if caller.account is not None:
        caller.admit(request_costs.of_stored(_id_bytes(event)))
    top_k = None
    if query.k is not None:
        top_k = TopK(query.k, query.exclude_seen, None, restrictions.exclude, restrictions.exclude_events)
        if caller.account is not None or restrictions.fields:
            prepare(recommender, event.user_id, restrictions, caller, request_costs.of_items(query.k))
    elif restrictions != UNRESTRICTED:
        raise _NO_QUESTION
    new = event.new_event(event.event_id, time.time())
    recorded = await recommender.record(event.user_id, new, top_k, restrictions.request)
    out = recorded_out(event.user_id, recorded)
    if top_k is None:
        return encoded(out)
    answer = recorded.answer
    if answer is None:
        return encoded({**out, "recommendations": None})
    if answer.eligible is EVERYTHING and not restrictions.fields and len(answer.items) <= MAX_INLINE_ITEMS:
        out["recommendations"] = recommendations_out(event.user_id, answer, PLAIN)
        return encoded(out)
    convert = partial(recommendations_out, event.user_id)
    try:
        return await encode_answer(
            recommender,
            answer,
            lambda found, fields: {**out, "recommendations": convert(found, fields)},
            restrictions.fields,
        )
    except InvalidRequest:  # the answer is too long, but the event is stored
        return encoded({**out, "recommendations": None})


def _id_bytes(event: QuestionEventIn) -> int:
    """Return the size of an event's ids in UTF-8."""
    ids = f"{event.user_id}{event.item_id}{event.event_id or ''}{event.recommendation_id or ''}"
    return len(ids) if ids.isascii() else len(ids.encode())


async def answer_recommendations(
    recommender: Recommender, user_id: str, query: TopKQuery | QuestionIn, caller: Caller
) -> bytes:
    """Return the response body of `GET /v1/users/{user_id}/recommendations`."""
    restrictions = query.restrictions if isinstance(query, TopKQuery) else query.question()
    prepare(recommender, user_id, restrictions, caller, request_costs.of_items(query.k))
    top_k = TopK(query.k, query.exclude_seen, None, restrictions.exclude, restrictions.exclude_events)
    answer = await recommender.recommend(user_id, top_k, restrictions.request)
    return await encode_answer(recommender, answer, partial(recommendations_out, user_id), restrictions.fields)


def prepare(
    recommender: Recommender, user_id: str | None, restrictions: Restrictions, caller: Caller, units: float
) -> None:
    """Charge a question to the caller, and check the fields it names.

    Args:
        recommender: Knows the catalogue.
        user_id: The user; None for an anonymous question.
        restrictions: Filter, exclusions and fields.
        caller: Is charged.
        units: Cost of the rest of the question.
    """
    if restrictions.fields:
        recommender.eligibility.check_fields(restrictions.fields)
    if caller.account is not None:
        units += request_costs.of_exclusions(len(restrictions.exclude))
        if restrictions.exclude_events:
            units += request_costs.of_log_read()
        if restrictions.request is not None:
            engine = recommender.engine_of(user_id)
            units += request_costs.of_compilation(
                recommender.eligibility.rows_to_compile(engine, restrictions.request)
            )
        caller.charge(units)


async def encode_answer(
    recommender: Recommender,
    answer: Answer,
    convert: Callable[[Answer, ItemFields], Json],
    names: tuple[str, ...] = (),
    *,
    ranked: bool = False,
) -> bytes:
    """Return an answer's JSON; encode a long one in the thread.

    Each item carries the attributes `names`, and with `ranked` whether it is eligible.
    """
    fields, eligibility = ItemFields(None, names, ranked), recommender.eligibility
    has_entries = eligibility.is_restricted(None)
    if len(answer.items) <= (MAX_INLINE_ENTRIES if has_entries else MAX_INLINE_ITEMS):
        return encoded(convert(answer, fields_of(eligibility, answer.items, fields)))
    fields = await fields_of_many(eligibility, answer.items, fields)

    def encode() -> bytes:
        out = convert(answer, fields)
        return encode_long(out, "items", LARGE_ROWS if has_entries else _SLICE_ITEMS, out.get("recommendations"))

    return await in_work_thread(encode)


def json_response(body: bytes) -> Response:
    """Build a response with status 200 from encoded JSON."""
    return Response(body, media_type="application/json")


def items_out(items: Iterable[ScoredItem], fields: ItemFields = PLAIN) -> list[Json]:
    """Convert to a list of `ItemOut`."""
    if fields is PLAIN:  # ordinary: a comprehension takes half the time
        return [{"item_id": item.item_id, "score": item.score} for item in items]
    out = []
    names = [name for name in fields.names if name not in ALWAYS_PRESENT]
    for item in items:
        found: Json = {"item_id": item.item_id, "score": item.score}
        entry = None if fields.entries is None else fields.entries.get(item.item_id)
        if entry is not None:
            if entry.title is not None:
                found["title"] = entry.title
            if entry.categories:
                found["categories"] = entry.categories
        if fields.names:
            values = {} if entry is None else entry.attributes
            found["attributes"] = {name: value_out(values[name]) for name in names if name in values}
        if fields.ranked:
            found["eligible"] = item.eligible
        out.append(found)
    return out


def anonymous_out(answer: Answer, fields: ItemFields) -> Json:
    """Convert to `ItemsOut`."""
    out: Json = {"model_version": answer.model_version, "source": _SOURCES[answer.cold]}
    return add_items(named(out, answer), answer, fields)


def recommendations_out(user_id: str, answer: Answer, fields: ItemFields) -> Json:
    """Convert to `RecommendationsOut`."""
    out: Json = {
        "user_id": user_id,
        "model_version": answer.model_version,
        "sequence": answer.sequence,
        "source": _SOURCES[answer.cold],
    }
    if answer.recommendation_id:
        out["recommendation_id"] = answer.recommendation_id
    if answer.eligible is EVERYTHING and len(answer.items) >= answer.k:  # ordinary: nothing limits the answer
        out["items"] = items_out(answer.items, fields)
        return out
    return add_items(out, answer, fields)


def named(out: Json, answer: Answer) -> Json:
    """Add the recommendation id, if the answer has one."""
    if answer.recommendation_id:
        out["recommendation_id"] = answer.recommendation_id
    return out


def add_items(out: Json, answer: Answer, fields: ItemFields) -> Json:
    """Add the items, and what limited them."""
    _, revision, evaluated_at = answer.eligible
    if revision is not None:
        out["catalogue_revision"] = revision
    if evaluated_at is not None:
        out["evaluated_at"] = evaluated_at
    items = items_out(answer.items, fields)
    if len(items) < answer.k:  # the search was complete, so these are all
        out["short"], out["eligible"] = True, len(items)
    out["items"] = items
    return out


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
        sequence=event.sequence,
        item_id=event.item_id,
        timestamp=event.timestamp,
        event_id=event.event_id,
        type=event.type or DEFAULT_TYPE,
        value=event.value,
        recommendation_id=event.recommendation_id or None,
    )
