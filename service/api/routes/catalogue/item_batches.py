"""Route that changes many items of the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute

from service.api import request_costs
from service.api.answers import json_response
from service.api.dependencies import BodyBytesDep, CallerDep, ServicesDep
from service.api.error_responses import error_body
from service.api.route_scopes import needs
from service.api.schemas.catalogue_requests import ItemBatchIn, change_or_error
from service.api.schemas.catalogue_responses import ItemBatchOut
from service.api.schemas.incremental_json import parse_rows
from service.api.schemas.item_fields import Json
from service.api.schemas.requests import NoQuery
from service.api.work_thread import encoded
from service.api_keys import KeyScope
from service.core.catalogue.editing.item_changes import ItemChange
from service.core.errors import InvalidRequest, ServiceError

_SLICE = 25  # items of a batch that are validated before other requests get the event loop


class _SlicedRequest(Request):
    """Request whose JSON is parsed in slices."""

    async def json(self) -> Any:  # noqa: ANN401
        """Parse the body."""
        parsed = await parse_rows((await self.body()).decode(), "items")
        await asyncio.sleep(0)  # the framework then validates the whole batch at once
        return parsed


class _SlicedRoute(APIRoute):
    """Route of large bodies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Pass the framework's handler a request that parses in slices."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_SlicedRequest(request.scope, request.receive))

        return handle


router = APIRouter(prefix="/v1/items", tags=["catalogue"], route_class=_SlicedRoute)


@router.post(
    "/batch",
    openapi_extra=needs(KeyScope.CATALOGUE),
    response_model=ItemBatchOut,
    summary="Put or patch many items",
)
async def change_items(
    batch: ItemBatchIn,
    query: Annotated[NoQuery, Query()],
    services: ServicesDep,
    caller: CallerDep,
    body_bytes: BodyBytesDep,
) -> Response:
    """Put or patch up to 1,000 items, in at most 4 MiB.

    The status is 200 if the batch itself is valid. Each result says whether its item was stored; a refused item does
    not stop the others.
    """
    caller.admit(request_costs.of_batch(len(batch.items), body_bytes))
    changes: list[ItemChange | InvalidRequest] = []
    for start in range(0, len(batch.items), _SLICE):
        await asyncio.sleep(0)
        changes += map(change_or_error, batch.items[start : start + _SLICE])
    valid = [change for change in changes if isinstance(change, ItemChange)]
    edited = await (services.catalogue.items.put if batch.mode == "put" else services.catalogue.items.patch)(valid)
    outcomes = iter(edited.outcomes)
    results: list[Json] = []
    for number, change in enumerate(changes, start=1):
        if number % _SLICE == 0:
            await asyncio.sleep(0)
        outcome = next(outcomes) if isinstance(change, ItemChange) else change
        if isinstance(outcome, ServiceError):
            results.append({"error": error_body(outcome.code, outcome.message, outcome.details)})
        elif isinstance(change, ItemChange):
            results.append({"item_id": change.item_id, "changed": outcome.changed})
    return json_response(encoded({"results": results, "catalogue_revision": edited.revision}))
