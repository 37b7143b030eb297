"""Random histories of a bundle's items, and the states after them."""

from __future__ import annotations

import numpy as np

from model.bundle.bundle import Bundle
from service.core.engine_requests import EngineRequest, EngineResult
from service.core.ports import Engine


class RandomHistories:
    """Source of histories; the same seed gives the same ones."""

    def __init__(self, bundle: Bundle, seed: int = 0) -> None:
        self._names = [item.item_id for item in bundle.items]
        self._rng = np.random.default_rng(seed)

    def history(self, length: int) -> tuple[str, ...]:
        """Return item ids, drawn uniformly."""
        return tuple(self._names[n] for n in self._rng.integers(0, len(self._names), length))

    def states(self, engine: Engine, count: int, length: int) -> list[bytes]:
        """Return `count` copies of the state after one history of this length."""
        results = engine.run([EngineRequest(None, self.history(length), None)] * count)
        return [result.state for result in results if isinstance(result, EngineResult)]
