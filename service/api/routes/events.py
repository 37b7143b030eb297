"""Routes that record events, one by one or in batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.api import request_costs
from service.api.answers import answer_event, json_response, recorded_out
from service.api.dependencies import BodyBytesDep, CallerDep, RecommenderDep
from service.api.error_responses import error_body
from service.api.route_scopes import needs
from service.api.schemas.item_fields import Json
from service.api.schemas.requests import EventBatchIn, NoQuery, QuestionEventIn, RecordQuery, event_or_error
from service.api.schemas.responses import BatchOut, RecordedOut
from service.api.work_thread import BodyRoute, encoded, in_work_thread
from service.api_keys import KeyScope
from service.core.errors import InvalidRequest, ServiceError
from service.core.events import NewEvent
from service.core.recommending.results import Recorded

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=BodyRoute)


@router.post(
    "",
    openapi_extra=needs(KeyScope.APPEND, with_query={"k": KeyScope.READ}, bound_user="body"),
    response_model=RecordedOut,
    summary="Record an event",
)
async def record_event(
    event: QuestionEventIn, query: Annotated[RecordQuery, Query()], recommender: RecommenderDep, caller: CallerDep
) -> Response:
    """Append one event to the user's log.

    With `k` the response also holds recommendations that reflect the event.
    """
    return json_response(await answer_event(recommender, event, query, caller))


@router.post("/batch", openapi_extra=needs(KeyScope.APPEND), response_model=BatchOut, summary="Record many events")
async def record_events(
    batch: EventBatchIn,
    query: Annotated[NoQuery, Query()],
    recommender: RecommenderDep,
    caller: CallerDep,
    body_bytes: BodyBytesDep,
) -> Response:
    """Append up to 1,000 events, each user's in the order given.

    The status is 200 if the batch itself is valid. Each result says whether its event was recorded; a refused event
    does not stop the others.
    """
    caller.admit(request_costs.of_batch(len(batch.events), body_bytes))
    events = await in_work_thread(_new_events, batch.events, time.time())
    recorded = await recommender.record_batch([event for event in events if not isinstance(event, InvalidRequest)])
    return json_response(await in_work_thread(_batch_out, events, recorded))


def _new_events(values: Sequence[object], now: float) -> list[tuple[str, NewEvent] | InvalidRequest]:
    """Validate events; return each with its user, or its error."""
    events: list[tuple[str, NewEvent] | InvalidRequest] = []
    for value in values:
        event = event_or_error(value)
        if isinstance(event, InvalidRequest):
            events.append(event)
        else:
            events.append((event.user_id, event.new_event(event.event_id, now)))
    return events


def _batch_out(
    events: Sequence[tuple[str, NewEvent] | InvalidRequest], recorded: Sequence[Recorded | ServiceError]
) -> bytes:
    """Return the response body of a batch."""
    outcomes = iter(recorded)
    results: list[Json] = []
    for event in events:
        if isinstance(event, InvalidRequest):
            results.append(_error_out(event))
            continue
        outcome = next(outcomes)
        results.append(_error_out(outcome) if isinstance(outcome, ServiceError) else recorded_out(event[0], outcome))
    return encoded({"results": results})


def _error_out(error: ServiceError) -> Json:
    return {"error": error_body(error.code, error.message, error.details)}
