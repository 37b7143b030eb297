"""What next: for a user of the log, for an anonymous history, and candidates in order for a user."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.api.answers import answer_recommendations
from service.api.dependencies import UseCases
from service.api.schemas.field_types import PathId
from service.api.schemas.requests import CandidatesIn, HistoryIn, ItemsOut, NoQuery, RecommendationsOut, TopKQuery
from service.api.scopes import needs
from service.api.serializers import anonymous_out, encoded, json_response, recommendations_out
from service.api_keys import KeyScope
from service.core.engine_requests import RankCandidates, TopK

router = APIRouter(prefix="/v1", tags=["recommendations"])


@router.get("/users/{user_id}/recommendations", openapi_extra=needs(KeyScope.READ), response_model=RecommendationsOut)
async def recommend(user_id: PathId, query: Annotated[TopKQuery, Query()], recommender: UseCases) -> Response:
    """The `k` best items for a user, whether or not the log knows the user."""
    return json_response(await answer_recommendations(recommender, user_id, query))


@router.post("/users/{user_id}/rank", openapi_extra=needs(KeyScope.READ), response_model=RecommendationsOut)
async def rank(
    user_id: PathId, body: CandidatesIn, query: Annotated[NoQuery, Query()], recommender: UseCases
) -> Response:
    """The candidates, best first; those that the model does not know come last, with score null."""
    answer = await recommender.recommend(user_id, RankCandidates(tuple(body.candidates)))
    return json_response(encoded(recommendations_out(user_id, answer)))


@router.post("/recommendations", openapi_extra=needs(KeyScope.READ), response_model=ItemsOut)
async def recommend_for_history(
    body: HistoryIn, query: Annotated[NoQuery, Query()], recommender: UseCases
) -> Response:
    """The `k` best items after a history that is not in the log; nothing is stored."""
    answer = await recommender.recommend_for_history(body.history, TopK(body.k, body.exclude_seen))
    return json_response(encoded(anonymous_out(answer)))
