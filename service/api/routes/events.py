"""Routes that record events, one by one or in batches."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.api import costs
from service.api.answers import Json, answer_event, encoded, json_response, recorded_out
from service.api.dependencies import CallerDep, RecommenderDep
from service.api.errors import error_body
from service.api.schemas.requests import EventBatchIn, EventIn, NoQuery, RecordQuery, event_or_error
from service.api.schemas.responses import BatchOut, RecordedOut
from service.api.scopes import needs
from service.api.work_thread import BodyRoute
from service.api_keys import KeyScope
from service.core.errors import InvalidRequest, ServiceError
from service.core.events import NewEvent

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=BodyRoute)

_SLICE = 50  # events of a batch that are validated before other requests get a turn


@router.post(
    "",
    openapi_extra=needs(KeyScope.APPEND, with_query={"k": KeyScope.READ}, bound_user="body"),
    response_model=RecordedOut,
    summary="Record an event",
)
async def record_event(
    event: EventIn, query: Annotated[RecordQuery, Query()], recommender: RecommenderDep, caller: CallerDep
) -> Response:
    """Append one event to the user's log.

    With `k` the response also holds recommendations that reflect the event.
    """
    return json_response(await answer_event(recommender, event, query, caller))


@router.post("/batch", openapi_extra=needs(KeyScope.APPEND), response_model=BatchOut, summary="Record many events")
async def record_events(
    batch: EventBatchIn, query: Annotated[NoQuery, Query()], recommender: RecommenderDep, caller: CallerDep
) -> Response:
    """Append up to 1,000 events, each user's in the order given.

    The status is 200 if the batch itself is valid. Each result says whether its event was recorded; a refused event
    does not stop the others.
    """
    caller.charge(costs.of_batch(len(batch.events)))
    now = time.time()
    events: list[EventIn | InvalidRequest] = []
    for start in range(0, len(batch.events), _SLICE):
        events += map(event_or_error, batch.events[start : start + _SLICE])
        await asyncio.sleep(0)
    valid = [event for event in events if isinstance(event, EventIn)]
    outcomes = iter(
        await recommender.record_batch(
            [(event.user_id, NewEvent.create(event.item_id, event.timestamp, event.event_id, now)) for event in valid]
        )
    )
    results: list[Json] = []
    for event in events:
        if isinstance(event, EventIn):
            outcome = next(outcomes)
            results.append(
                _error_out(outcome) if isinstance(outcome, ServiceError) else recorded_out(event.user_id, outcome)
            )
        else:
            results.append(_error_out(event))
    return json_response(encoded({"results": results}))


def _error_out(error: ServiceError) -> Json:
    return {"error": error_body(error.code, error.message, error.details)}
