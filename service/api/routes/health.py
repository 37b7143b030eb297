"""Routes for orchestrators and monitoring: liveness, readiness, metrics."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.dependencies import Services
from service.api.route_scopes import OPEN, needs
from service.api.schemas.model_responses import LiveOut, ReadyOut
from service.api.work_thread import in_work_thread
from service.api_keys import KeyScope
from service.core.attribution.credits import ShardCounts
from service.core.errors import NotReady, ServiceError
from service.observability.metrics import PrometheusMeter

router = APIRouter(tags=["health"])


@router.get("/healthz", openapi_extra=OPEN, summary="Check liveness")
async def check_liveness() -> LiveOut:
    """Answer 200 while the process runs."""
    return LiveOut(status="ok")


@router.get("/readyz", openapi_extra=OPEN, summary="Check readiness")
async def check_readiness(request: Request) -> ReadyOut:
    """Answer 200 if the service can answer requests, otherwise 503.

    The model must be loaded, and the event log must answer within a second. While a part of the catalogue cannot be
    read, answers are made from the last revision that was read; `catalogue_age_seconds` tells. A full event log
    refuses events only, so the service stays ready.
    """
    services: Services | None = request.app.state.services
    if services is None:
        raise NotReady("the service is starting or stopping; send traffic elsewhere")
    try:
        takes_events = await services.readiness.check()
    except (TimeoutError, ServiceError) as error:
        raise NotReady("the event log does not answer; send traffic elsewhere and check RECBLR_STATE_URL") from error
    return ReadyOut(
        status="ready",
        event_log="ok" if takes_events else "full",
        catalogue_age_seconds=round(services.catalogue.sync.age_seconds, 3),
    )


@router.get(
    "/metrics",
    openapi_extra=needs(KeyScope.METRICS),
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Read the metrics",
)
async def read_metrics(request: Request) -> Response:
    """Return the metrics of all workers in Prometheus' text format."""
    meter: PrometheusMeter = request.app.state.meter
    meter.update()
    attributed = await _attributed(request.app.state.services)
    return Response(await in_work_thread(meter.render, attributed), media_type=CONTENT_TYPE_LATEST)


async def _attributed(services: Services | None) -> Sequence[ShardCounts]:
    """Return the counters of attribution, if they can be read."""
    if services is None or services.recommender.attribution is None:
        return ()
    try:
        return await services.counters.read()
    except ServiceError:
        return ()
