"""Simulated engine, whose state is a hash of all replayed items."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from zlib import crc32

from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, ScoredItem
from service.core.errors import ItemNotFound
from service.core.event_types.effects import UNNAMED_TYPES

VERSIONS = ("1", "2", "3")
ITEMS = tuple("abcdef")


def knows(version: str, item_id: str) -> bool:
    """Return whether the version knows the item; each version lacks one."""
    return item_id != ITEMS[int(version)]


@lru_cache(maxsize=65_536)
def replay(version: str, state: bytes | None, items: tuple[str, ...]) -> bytes:
    """Return the state after `items`.

    Its first byte is 1 after a known item, else 0.
    """
    state = state or b"\0" + version.encode()
    for item in items:
        if knows(version, item):
            state = b"\1" + blake2b(state + item.encode(), digest_size=8).digest()
    return state


class HashEngine:
    """Engine whose result names its state, so that wrong states are seen."""

    encoder, extended = None, 0
    event_types = UNNAMED_TYPES

    def __init__(self, version: str, seconds: float) -> None:
        self.version = version
        self._seconds = seconds

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult]:
        return [self._run_one(request) for request in requests]

    def _run_one(self, request: EngineRequest) -> EngineResult:
        state = replay(self.version, request.state, request.items)
        return EngineResult(state, state[0] == 0, (ScoredItem(state.hex(), 0.0),))

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        return self._seconds * len(requests)

    def knows(self, item_id: str) -> bool:
        return knows(self.version, item_id)

    @property
    def item_ids(self) -> tuple[str, ...]:
        return tuple(item for item in ITEMS if self.knows(item))

    def extend(self, first: int, items: Sequence[object]) -> None:
        raise ValueError("the model has no content encoder")

    def reset_extension(self) -> None:
        """Nothing is appended."""

    def similar(
        self, item_id: str, k: int, allowed: AllowedRows | None = None, exclude: Sequence[str] = ()
    ) -> tuple[ScoredItem, ...]:
        raise ItemNotFound("no item is similar to another here")

    def difference(self, state: bytes, expected: bytes) -> float:
        return float(state != expected)

    def describe(self) -> dict[str, Any]:
        return {"version": self.version}


class SimulatedModels:
    """Models of one process: all are loaded, one or two are served."""

    def __init__(self, served: tuple[HashEngine, ...]) -> None:
        self.served = served

    @property
    def live(self) -> HashEngine:
        return self.served[0]

    def for_user(self, user_id: str) -> HashEngine:
        return self.served[crc32(user_id.encode()) % len(self.served)]

    async def reload(self, version: str | None) -> HashEngine:
        raise NotImplementedError("the simulation switches by replacing `served`")
