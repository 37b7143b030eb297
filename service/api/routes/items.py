"""Items as the model sees them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.api.dependencies import UseCases
from service.api.schemas.field_types import PathId
from service.api.schemas.requests import SimilarOut, SimilarQuery
from service.api.scopes import needs
from service.api.serializers import encoded, items_out, json_response
from service.api_keys import KeyScope

router = APIRouter(prefix="/v1/items", tags=["items"])


@router.get("/{item_id}/similar", openapi_extra=needs(KeyScope.READ), response_model=SimilarOut)
async def similar(item_id: PathId, query: Annotated[SimilarQuery, Query()], recommender: UseCases) -> Response:
    """The `k` items nearest to this one, without itself."""
    model_version, items = await recommender.similar(item_id, query.k)
    out = {"item_id": item_id, "model_version": model_version, "items": items_out(items)}
    return json_response(encoded(out))
