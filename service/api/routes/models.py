"""The models that answer: what they are, how to replace them, and how to try one on a part of the users."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.api.dependencies import Running
from service.api.schemas.requests import NoQuery, ReloadedOut, ReloadIn, TestEndIn, TestIn, TestOut
from service.api.scopes import needs
from service.api_keys import KeyScope

router = APIRouter(prefix="/v1", tags=["model"])


@router.get("/model", openapi_extra=needs(KeyScope.READ))
async def model(query: Annotated[NoQuery, Query()], services: Running) -> dict[str, Any]:
    """Version, config, metrics and training data of the live model; `test` says the same of one that is tried."""
    live, *tested = services.models.served
    test = {"share": services.models.share, **tested[0].describe()} if tested else None
    return {**live.describe(), "test": test}


@router.post("/admin/reload", openapi_extra=needs(KeyScope.ADMIN))
async def reload(query: Annotated[NoQuery, Query()], services: Running, body: ReloadIn | None = None) -> ReloadedOut:
    """Load a bundle beside the live one, then switch to it in every worker. If it is refused the live one stays.

    Going back is the same: name the older version.
    """
    previous = services.models.live.version
    engine = await services.models.reload(None if body is None else body.version)
    return ReloadedOut(model_version=engine.version, previous_version=previous)


@router.post("/admin/test", openapi_extra=needs(KeyScope.ADMIN))
async def begin_test(query: Annotated[NoQuery, Query()], services: Running, body: TestIn) -> TestOut:
    """Let another version answer a share of the users beside the live one; again with another share to change it.

    Who is in it follows from the user's id, and stays.
    """
    await services.models.begin_test(body.version, body.share)
    return TestOut(model_version=services.models.live.version, tested_version=body.version, share=body.share)


@router.post("/admin/test/end", openapi_extra=needs(KeyScope.ADMIN))
async def end_test(query: Annotated[NoQuery, Query()], services: Running, body: TestEndIn) -> ReloadedOut:
    """Let one of the two versions answer everybody from now on."""
    previous = services.models.live.version
    engine = await services.models.end_test(body.winner)
    return ReloadedOut(model_version=engine.version, previous_version=previous)
