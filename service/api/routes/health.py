"""For orchestrators and monitors: alive, ready, measured."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.dependencies import Services
from service.api.errors import NotReady
from service.api.scopes import OPEN, needs
from service.api_keys import KeyScope
from service.core.errors import ServiceError
from service.observability.metrics import PrometheusMeter

router = APIRouter(tags=["health"])

_PING_SECONDS = 1.0


@router.get("/healthz", openapi_extra=OPEN)
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", openapi_extra=OPEN)
async def readyz(request: Request) -> dict[str, str]:
    """The model is warm and the event log answers within a second; otherwise 503."""
    services: Services | None = request.app.state.services
    if services is None:
        raise NotReady("the service is starting or stopping; send traffic elsewhere")
    try:
        async with asyncio.timeout(_PING_SECONDS):
            await services.store.ping()
    except (TimeoutError, ServiceError) as error:
        raise NotReady("the event log does not answer; send traffic elsewhere and check RECBLR_STATE_URL") from error
    return {"status": "ready"}


@router.get("/metrics", openapi_extra=needs(KeyScope.READ), response_class=Response)
async def metrics(request: Request) -> Response:
    """The metrics of all workers, in Prometheus' text format."""
    meter: PrometheusMeter = request.app.state.meter
    return Response(meter.page(), media_type=CONTENT_TYPE_LATEST)
