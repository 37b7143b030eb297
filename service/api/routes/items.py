"""Routes about items."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.api import request_costs
from service.api.answers import add_items, encode_answer, json_response, named, prepare
from service.api.dependencies import CallerDep, RecommenderDep
from service.api.route_scopes import needs
from service.api.schemas.field_types import PathId
from service.api.schemas.item_fields import ItemFields, Json
from service.api.schemas.requests import SimilarQuery
from service.api.schemas.responses import SimilarOut
from service.api_keys import KeyScope
from service.core.engine_requests import TopK
from service.core.recommending.results import Answer

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
    restrictions = query.restrictions
    prepare(recommender, None, restrictions, caller, request_costs.of_items(query.k))
    top_k = TopK(query.k, exclude_seen=False, exclude=restrictions.exclude)
    answer = await recommender.similar(item_id, top_k, restrictions.request)

    def convert(found: Answer, fields: ItemFields) -> Json:
        out: Json = {"item_id": item_id, "model_version": found.model_version}
        return add_items(named(out, found), found, fields)

    return json_response(await encode_answer(recommender, answer, convert, restrictions.fields))
