"""Baseline: the service's own request and response models with an empty handler.

It answers ten constant recommendations, so its cost is that of FastAPI used as its manual says.

    python -m loadtests.scenarios.baseline_app PORT
"""

from __future__ import annotations

import sys
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Query

from service.api.schemas.requests import EventIn, RecordQuery
from service.api.schemas.responses import ItemOut, RecommendationsOut, RecordedOut

app = FastAPI()
_ITEMS = [(str(2571 + 7 * n), 3.7701871395111084 - 0.0937 * n) for n in range(10)]


@app.post("/v1/events", response_model_exclude_unset=True)
async def record_event(event: EventIn, query: Annotated[RecordQuery, Query()]) -> RecordedOut:
    """Return constants in the shape of the service's answer."""
    out = RecordedOut(user_id=event.user_id, sequence=1, duplicate=False, known_item=True)
    if query.k is not None:
        out.recommendations = RecommendationsOut(
            user_id=event.user_id,
            model_version="20261128T052316Z-3cf3d5d7",
            sequence=1,
            source="state",
            items=[ItemOut(item_id=item_id, score=score) for item_id, score in _ITEMS],
        )
    return out


@app.get("/readyz")
async def ready() -> dict[str, str]:
    """Return "ready", always."""
    return {"status": "ready"}


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
