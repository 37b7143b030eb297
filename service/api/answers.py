"""Response bodies of the two most frequent requests.

Their routes and the fast path share them.
"""

from __future__ import annotations

import time

from service.api.schemas.requests import EventIn, RecordQuery, TopKQuery
from service.api.serializers import encoded, recommendations_out, recorded_out
from service.core.engine_requests import TopK
from service.core.events import NewEvent
from service.core.recommending.recommender import Recommender


async def answer_event(recommender: Recommender, event: EventIn, query: RecordQuery) -> bytes:
    """Append an event, and return the response body of `POST /v1/events`."""
    top_k = None if query.k is None else TopK(query.k, query.exclude_seen)
    new = NewEvent.create(event.item_id, event.timestamp, event.event_id, time.time())
    recorded = await recommender.record(event.user_id, new, top_k)
    out = recorded_out(event.user_id, recorded)
    if top_k is not None:
        answer = recorded.answer
        out["recommendations"] = None if answer is None else recommendations_out(event.user_id, answer)
    return encoded(out)


async def answer_recommendations(recommender: Recommender, user_id: str, query: TopKQuery) -> bytes:
    """Return the response body of `GET /v1/users/{user_id}/recommendations`."""
    answer = await recommender.recommend(user_id, TopK(query.k, query.exclude_seen))
    return encoded(recommendations_out(user_id, answer))
