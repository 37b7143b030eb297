"""Fake engine, models and meters that keep their contracts in plain Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.config import ModelConfig
from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, Query, ScoredItem, TargetRank, TopK
from service.core.errors import (
    ItemNotFound,
    ModelVersionNotFound,
    RolloutRefused,
    StateDamagedError,
)
from service.core.event_types.effects import UNNAMED_TYPES
from service.core.ports import Engine

CATALOGUE = tuple(str(number) for number in range(1, 51))


class FakeEngine:
    """Engine whose state is the list of replayed known items.

    An item scores by its distance to the last one. `seconds` is the cost of one request; `error`, if set, fails every
    batch.
    """

    def __init__(self, version: str = "v1", seconds: float = 0.0) -> None:
        self.version = version
        self.seconds = seconds
        self.error: Exception | None = None
        self.event_types = UNNAMED_TYPES
        self.batches: list[int] = []

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        self.batches.append(len(requests))
        if self.error is not None:
            raise self.error
        return [self._run_one(request) for request in requests]

    def _run_one(self, request: EngineRequest) -> EngineResult | StateDamagedError:
        try:
            state: list[str] = [] if request.state is None else json.loads(request.state)
        except ValueError:
            return StateDamagedError("not a list of items")
        ranks = []
        for index, item in enumerate(request.items):
            if index in request.evaluated:
                ranks.append(TargetRank(not state, self._rank(state, item, False), self._rank(state, item, True)))
            state = [*state, item] if self.knows(item) else state
        return EngineResult(json.dumps(state).encode(), not state, self._answer(state, request.query), tuple(ranks))

    def _rank(self, state: list[str], item: str, exclude_seen: bool) -> int:
        order = [found.item_id for found in self._answer(state, TopK(len(CATALOGUE), exclude_seen))]
        return order.index(item) + 1 if item in order else 0

    def _answer(self, state: list[str], query: Query | None) -> tuple[ScoredItem, ...]:
        if query is None:
            return ()
        last = int(state[-1]) if state else 0
        if isinstance(query, TopK):
            left_out = {*query.exclude, *(state if query.exclude_seen else ())}
            candidates = [item for item in CATALOGUE if self._allows(query.allowed, item) and item not in left_out]
            return tuple(sorted((self._scored(item, last) for item in candidates), key=_best_first)[: query.k])
        return tuple(
            self._scored(item, last)._replace(
                eligible=self.knows(item) and self._allows(query.allowed, item) and item not in query.exclude
            )
            for item in sorted(query.candidates, key=lambda item: _best_first(self._scored(item, last)))
        )

    def _allows(self, allowed: AllowedRows | None, item: str) -> bool:
        return allowed is None or bool(allowed.contains(np.array([CATALOGUE.index(item) + 1]))[0])

    def _scored(self, item: str, last: int) -> ScoredItem:
        if not self.knows(item):
            return ScoredItem(item, None)
        return ScoredItem(item, -float(abs(int(item) - last)))

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        return self.seconds * len(requests)

    def knows(self, item_id: str) -> bool:
        return item_id in CATALOGUE

    @property
    def item_ids(self) -> tuple[str, ...]:
        return CATALOGUE

    def similar(
        self, item_id: str, k: int, allowed: AllowedRows | None = None, exclude: Sequence[str] = ()
    ) -> tuple[ScoredItem, ...]:
        if not self.knows(item_id):
            raise ItemNotFound("the live model does not know this item")
        others = [
            self._scored(item, int(item_id))
            for item in CATALOGUE
            if item not in (item_id, *exclude) and self._allows(allowed, item)
        ]
        return tuple(sorted(others, key=_best_first)[:k])

    def difference(self, state: bytes, expected: bytes) -> float:
        return 0.0 if state == expected else 1.0

    def describe(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "created": "2026-11-30T12:00:00+00:00",
            "config": ModelConfig(items=99).to_dict(),
            "metrics": {"ndcg@10": 0.17},
            "training_data": {"events": 1000},
        }


def _best_first(item: ScoredItem) -> tuple[bool, float, str]:
    return item.score is None, -(item.score or 0.0), item.item_id


class FakeModels:
    def __init__(self, live: Engine, switched: Callable[[tuple[str, ...]], None] = lambda versions: None) -> None:
        self.live = live
        self.tested: Engine | None = None
        self.in_test: set[str] = set()
        self.share = 0.0
        self._switched = switched
        self._tell()

    @property
    def served(self) -> tuple[Engine, ...]:
        return (self.live,) if self.tested is None else (self.live, self.tested)

    def for_user(self, user_id: str) -> Engine:
        return self.tested if self.tested is not None and user_id in self.in_test else self.live

    async def reload(self, version: str | None) -> Engine:
        if version == "missing":
            raise ModelVersionNotFound("the bundle folder holds no such version")
        self.live = FakeEngine(version or "v2")
        self._tell()
        return self.live

    async def begin_test(self, version: str, share: float) -> None:
        if version == self.live.version:
            raise RolloutRefused(f"{version} is the live model")
        self.tested, self.share = FakeEngine(version), share
        self._tell()

    async def end_test(self, winner: str) -> Engine:
        if self.tested is None:
            raise RolloutRefused("no A/B test is under way")
        self.live = self.tested if winner == self.tested.version else self.live
        self.tested, self.share = None, 0.0
        self._tell()
        return self.live

    def _tell(self) -> None:
        self._switched(tuple(engine.version for engine in self.served))


class NullBatchMeter:
    """A micro-batcher's meter that keeps nothing."""

    def batch_finished(self, size: int, seconds: float, queued: int) -> None: ...

    def request_rejected(self) -> None: ...

    def requests_expired(self, count: int) -> None: ...


@dataclass(slots=True)
class CountingMeter:
    """Meter that counts in a dictionary."""

    counts: dict[str, int] = field(default_factory=dict)
    ranks: list[tuple[str, TargetRank]] = field(default_factory=list)

    def events_replayed(self, count: int, ignored: int = 0) -> None:
        self._add("replayed_events", count)

    def cold_start(self) -> None:
        self._add("cold_starts")

    def snapshot_damaged(self) -> None:
        self._add("snapshots_damaged")

    def event_evaluated(self, model_version: str, rank: TargetRank, event_type: str = "") -> None:
        self.ranks.append((model_version, rank))

    def _add(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount
