"""Routes that recommend items and rank candidates."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from service.api import request_costs
from service.api.answers import (
    anonymous_out,
    answer_recommendations,
    encode_answer,
    json_response,
    prepare,
    recommendations_out,
)
from service.api.dependencies import CallerDep, RecommenderDep
from service.api.route_scopes import needs
from service.api.schemas.field_types import PathId
from service.api.schemas.requests import CandidatesIn, HistoryIn, NoQuery, QuestionIn, TopKQuery
from service.api.schemas.responses import ItemsOut, RecommendationsOut
from service.api.work_thread import BodyRoute
from service.api_keys import KeyScope
from service.core.engine_requests import RankCandidates, TopK

router = APIRouter(prefix="/v1", tags=["recommendations"], route_class=BodyRoute)

_OF_USER: dict[str, Any] = {
    "openapi_extra": needs(KeyScope.READ, bound_user="path"),
    "response_model": RecommendationsOut,
}
_NoQuery = Annotated[NoQuery, Query()]


@router.get(
    "/users/{user_id}/recommendations",
    summary="Recommend items to a user",
    **_OF_USER,
)
async def recommend_for_user(
    user_id: PathId, query: Annotated[TopKQuery, Query()], recommender: RecommenderDep, caller: CallerDep
) -> Response:
    """Return the `k` best items for a user.

    A user without events gets the model's answer to an empty history.
    """
    return json_response(await answer_recommendations(recommender, user_id, query, caller))


@router.post(
    "/users/{user_id}/recommendations",
    summary="Recommend items, asked in a body",
    **_OF_USER,
)
async def question_for_user(
    user_id: PathId, body: QuestionIn, query: _NoQuery, recommender: RecommenderDep, caller: CallerDep
) -> Response:
    """Return the `k` best items for a user, as GET does.

    Filters and exclusions of any length fit into a body.
    """
    return json_response(await answer_recommendations(recommender, user_id, body, caller))


@router.post(
    "/users/{user_id}/rank",
    summary="Rank items for a user",
    **_OF_USER,
)
async def rank_for_user(
    user_id: PathId, body: CandidatesIn, query: _NoQuery, recommender: RecommenderDep, caller: CallerDep
) -> Response:
    """Return the candidates, best first.

    Items that the model does not know come last, with score null. Unavailable, filtered and excluded items keep their
    rank, with `"eligible": false`.
    """
    restrictions = body.question()
    prepare(recommender, user_id, restrictions, caller, request_costs.of_candidates(len(body.candidates)))
    ranking = RankCandidates(tuple(body.candidates), None, restrictions.exclude, restrictions.exclude_events)
    answer = await recommender.recommend(user_id, ranking, restrictions.request)
    convert = partial(recommendations_out, user_id)
    return json_response(await encode_answer(recommender, answer, convert, restrictions.fields, ranked=True))


@router.post(
    "/recommendations",
    openapi_extra=needs(KeyScope.READ),
    response_model=ItemsOut,
    summary="Recommend items for a history",
)
async def recommend_for_history(
    body: HistoryIn, query: _NoQuery, recommender: RecommenderDep, caller: CallerDep
) -> Response:
    """Return the `k` best items for the history in the body.

    Nothing is stored.
    """
    restrictions, units = (
        body.question(),
        request_costs.of_history(len(body.history)) + request_costs.of_items(body.k),
    )
    prepare(recommender, None, restrictions, caller, units)
    top_k = TopK(body.k, body.exclude_seen, None, restrictions.exclude)
    answer = await recommender.recommend_for_history(body.history, top_k, restrictions.request)
    return json_response(await encode_answer(recommender, answer, anonymous_out, restrictions.fields))
