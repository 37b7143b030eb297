"""Routes about items."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.api import costs
from service.api.answers import encoded, items_out, json_response
from service.api.dependencies import CallerDep, RecommenderDep
from service.api.schemas.field_types import PathId
from service.api.schemas.requests import SimilarQuery
from service.api.schemas.responses import SimilarOut
from service.api.scopes import needs
from service.api.work_thread import in_work_thread
from service.api_keys import KeyScope

router = APIRouter(prefix="/v1/items", tags=["items"])


@router.get(
    "/{item_id}/similar", openapi_extra=needs(KeyScope.READ), response_model=SimilarOut, summary="Find similar items"
)
async def list_similar_items(
    item_id: PathId, query: Annotated[SimilarQuery, Query()], recommender: RecommenderDep, caller: CallerDep
) -> Response:
    """Return the `k` items nearest to this item.

    Nearness is cosine similarity of the item embeddings. The item itself is left out.
    """
    caller.charge(costs.of_items(query.k))
    model_version, items = await recommender.similar(item_id, query.k)
    out = {"item_id": item_id, "model_version": model_version}
    return json_response(await in_work_thread(lambda: encoded({**out, "items": items_out(items)})))
