"""The live model: what it is, and how to replace it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.api.schemas import NoQuery, ReloadedOut, ReloadIn
from service.api.scopes import needs
from service.api.serving import Serving
from service.keys import KeyScope

router = APIRouter(prefix="/v1", tags=["model"])


@router.get("/model", openapi_extra=needs(KeyScope.READ))
async def model(query: Annotated[NoQuery, Query()], recommender: Serving) -> dict[str, Any]:
    """Version, config, metrics and training data of the live model."""
    return recommender.model.describe()


@router.post("/admin/reload", openapi_extra=needs(KeyScope.ADMIN))
async def reload(
    query: Annotated[NoQuery, Query()], recommender: Serving, body: ReloadIn | None = None
) -> ReloadedOut:
    """Load a bundle beside the live one, then switch to it; needs an API key. If it is refused the live one stays."""
    previous = recommender.model.version
    engine = await recommender.reload_model(None if body is None else body.version)
    return ReloadedOut(model_version=engine.version, previous_version=previous)
