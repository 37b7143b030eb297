"""Routes about models: describe, switch the live version, A/B tests."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.dependencies import ServicesDep
from service.api.route_scopes import needs
from service.api.schemas.model_responses import AbTestOut, ModelOut, ReloadedOut
from service.api.schemas.requests import AbTestEndIn, AbTestIn, NoQuery, ReloadIn
from service.api.work_thread import BodyRoute
from service.api_keys import KeyScope

router = APIRouter(prefix="/v1", tags=["model"], route_class=BodyRoute)


@router.get("/model", openapi_extra=needs(KeyScope.READ), summary="Describe the live model")
async def read_model(query: Annotated[NoQuery, Query()], services: ServicesDep) -> ModelOut:
    """Return version, configuration, metrics and training data of the live model.

    During an A/B test `test` describes the tested version, otherwise it is null.
    """
    live, *tested = services.models.served
    test = {"share": services.models.share, **tested[0].describe()} if tested else None
    return ModelOut.model_validate({**live.describe(), "test": test})


@router.post("/admin/reload", openapi_extra=needs(KeyScope.ADMIN), summary="Serve another model version")
async def reload_model(query: Annotated[NoQuery, Query()], services: ServicesDep, body: ReloadIn) -> ReloadedOut:
    """Load a model version, then switch every worker to it.

    Send `{}` to load the newest version. A request without a body is refused, because a proxy may have lost it.
    If the bundle is refused, every worker keeps the live version. Name an older version to roll back.
    """
    previous = services.models.live.version
    engine = await services.models.reload(body.version)
    return ReloadedOut(model_version=engine.version, previous_version=previous)


@router.post("/admin/test", openapi_extra=needs(KeyScope.ADMIN), summary="Start an A/B test")
async def begin_ab_test(query: Annotated[NoQuery, Query()], services: ServicesDep, body: AbTestIn) -> AbTestOut:
    """Serve a second model version to a fraction of the users.

    Repeat the request with another `share` to change the fraction. A hash of the user id decides which version a user
    gets, so a user gets the same version from every worker.
    """
    await services.models.begin_test(body.version, body.share)
    return AbTestOut(model_version=services.models.live.version, tested_version=body.version, share=body.share)


@router.post("/admin/test/end", openapi_extra=needs(KeyScope.ADMIN), summary="End the A/B test")
async def end_ab_test(query: Annotated[NoQuery, Query()], services: ServicesDep, body: AbTestEndIn) -> ReloadedOut:
    """Serve one of the two model versions to all users."""
    previous = services.models.live.version
    engine = await services.models.end_test(body.winner)
    return ReloadedOut(model_version=engine.version, previous_version=previous)
