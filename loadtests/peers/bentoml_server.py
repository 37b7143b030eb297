"""BentoML: one worker process, adaptive batches (whose window it tunes itself below `max_latency_ms`)."""

from __future__ import annotations

from typing import Any

import bentoml
from pydantic import BaseModel

from loadtests.peers.recompute import MAX_BATCH, Recompute


class Asked(BaseModel):
    """One history, oldest item first."""

    history: list[str]


class Answered(BaseModel):
    """Its next items, best first."""

    items: list[dict[str, Any]]


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1024}, metrics={"enabled": False})
class NextItems:
    """POST /predict {"asked": [{"history": [item_id…]}]} -> [{"items": [{item_id, score}…]}]."""

    def __init__(self) -> None:
        self._model = Recompute()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000, route="/predict")
    def predict(self, asked: list[Asked]) -> list[Answered]:
        """One forward for the batch."""
        return [Answered(items=items) for items in self._model.answer([one.history for one in asked])]
