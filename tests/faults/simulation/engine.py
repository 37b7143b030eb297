"""The smallest engine that cannot be fooled: its state is a hash of its version and of every item it has folded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from zlib import crc32

from service.core.engine_requests import EngineRequest, EngineResult, ScoredItem
from service.core.errors import ItemNotFound

VERSIONS = ("1", "2", "3")
ITEMS = tuple("abcdef")


def knows(version: str, item_id: str) -> bool:
    """Each version has an item that it does not know."""
    return item_id != ITEMS[int(version)]


@lru_cache(maxsize=65_536)
def fold(version: str, state: bytes | None, items: tuple[str, ...]) -> bytes:
    """The state after `items`; the first byte says whether a known one was among them."""
    state = state or b"\0" + version.encode()
    for item in items:
        if knows(version, item):
            state = b"\1" + blake2b(state + item.encode(), digest_size=8).digest()
    return state


class HashEngine:
    """An answer's first item names the state, so that an answer from a wrong one is a wrong answer."""

    def __init__(self, version: str, seconds: float) -> None:
        self.version = version
        self._seconds = seconds

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult]:
        return [self._turn(request) for request in requests]

    def _turn(self, request: EngineRequest) -> EngineResult:
        state = fold(self.version, request.state, request.items)
        return EngineResult(state, state[0] == 0, (ScoredItem(state.hex(), 0.0),))

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        return self._seconds * len(requests)

    def knows(self, item_id: str) -> bool:
        return knows(self.version, item_id)

    def similar(self, item_id: str, k: int) -> tuple[ScoredItem, ...]:
        raise ItemNotFound("no item is similar to another here")

    def difference(self, state: bytes, expected: bytes) -> float:
        return float(state != expected)

    def describe(self) -> dict[str, Any]:
        return {"version": self.version}


class SimulatedModels:
    """One process's models: all of them loaded, one or two of them served."""

    def __init__(self, served: tuple[HashEngine, ...]) -> None:
        self.served = served

    @property
    def live(self) -> HashEngine:
        return self.served[0]

    def for_user(self, user_id: str) -> HashEngine:
        return self.served[crc32(user_id.encode()) % len(self.served)]

    async def reload(self, version: str | None) -> HashEngine:
        raise NotImplementedError("the simulation swaps by setting what is served")
