"""BentoML server: one worker process, adaptive batches.

BentoML tunes the batch window itself, below `max_latency_ms`.
"""

from __future__ import annotations

from typing import Any

import bentoml
from pydantic import BaseModel

from loadtests.peers.recompute import MAX_BATCH, Recompute


class HistoryIn(BaseModel):
    """A history, oldest item first."""

    history: list[str]


class ItemsOut(BaseModel):
    """Recommended items, best first."""

    items: list[dict[str, Any]]


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1024}, metrics={"enabled": False})
class NextItems:
    """POST /predict {"histories": [{"history": [item_id…]}]} -> [{"items": [{item_id, score}…]}]."""

    def __init__(self) -> None:
        self._model = Recompute()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000, route="/predict")
    def predict(self, histories: list[HistoryIn]) -> list[ItemsOut]:
        """Return recommendations for a batch, by one forward."""
        return [ItemsOut(items=items) for items in self._model.recommend([each.history for each in histories])]
