"""What next: for a user of the log, for an anonymous history, and candidates in order for a user."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.answers import items_out, recommendations_out, source_of
from service.api.fields import PathId
from service.api.schemas import CandidatesIn, HistoryIn, ItemsOut, NoQuery, RecommendationsOut, TopKQuery
from service.api.scopes import needs
from service.api.serving import Serving
from service.core.ports import Rank, TopK
from service.keys import KeyScope

router = APIRouter(prefix="/v1", tags=["recommendations"])


@router.get("/users/{user_id}/recommendations", openapi_extra=needs(KeyScope.READ), response_model_exclude_unset=True)
async def recommend(
    user_id: PathId, query: Annotated[TopKQuery, Query()], recommender: Serving
) -> RecommendationsOut:
    """The `k` best items for a user, whether or not the log knows the user."""
    answer = await recommender.recommend(user_id, TopK(query.k, query.exclude_seen))
    return recommendations_out(user_id, answer)


@router.post("/users/{user_id}/rank", openapi_extra=needs(KeyScope.READ), response_model_exclude_unset=True)
async def rank(
    user_id: PathId, body: CandidatesIn, query: Annotated[NoQuery, Query()], recommender: Serving
) -> RecommendationsOut:
    """The candidates, best first; those that the model does not know come last, with score null."""
    answer = await recommender.recommend(user_id, Rank(tuple(body.candidates)))
    return recommendations_out(user_id, answer)


@router.post("/recommendations", openapi_extra=needs(KeyScope.READ), response_model_exclude_unset=True)
async def recommend_for_history(
    body: HistoryIn, query: Annotated[NoQuery, Query()], recommender: Serving
) -> ItemsOut:
    """The `k` best items after a history that is not in the log; nothing is stored."""
    answer = await recommender.recommend_for_history(body.history, TopK(body.k, body.exclude_seen))
    return ItemsOut(model_version=answer.model_version, source=source_of(answer), items=items_out(answer.items))
