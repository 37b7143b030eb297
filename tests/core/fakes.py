"""An engine and a store that keep their contracts in plain Python, and can be made to fail on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.core.engine_requests import (
    EngineRequest,
    EngineResult,
    Query,
    ScoredItem,
    StateDamagedError,
    TargetRank,
    TopK,
)
from service.core.errors import ItemNotFound, ModelVersionNotFound, RolloutRefused, StoreUnavailable
from service.core.events import AppendAndRead, Appended, Conflict, Event, History, LogView, Merged, SnapshotPut
from service.core.ports import Engine

CATALOGUE = tuple(str(number) for number in range(1, 51))


class FakeEngine:
    """Engine whose state is the list of known items replayed; items score by distance to the last one's number.

    `seconds` is the cost of one request, and `error`, if set, fails every batch.
    """

    def __init__(self, version: str = "v1", seconds: float = 0.0) -> None:
        self.version = version
        self.seconds = seconds
        self.error: Exception | None = None
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
            candidates = [item for item in CATALOGUE if not (query.exclude_seen and item in state)]
            return tuple(sorted((self._scored(item, last) for item in candidates), key=_best_first)[: query.k])
        return tuple(sorted((self._scored(item, last) for item in query.candidates), key=_best_first))

    def _scored(self, item: str, last: int) -> ScoredItem:
        if not self.knows(item):
            return ScoredItem(item, None)
        title = f"Title {item}" if int(item) % 2 == 0 else None
        return ScoredItem(item, -float(abs(int(item) - last)), title, ("even",) if title else ())

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        return self.seconds * len(requests)

    def knows(self, item_id: str) -> bool:
        return item_id in CATALOGUE

    def similar(self, item_id: str, k: int) -> tuple[ScoredItem, ...]:
        if not self.knows(item_id):
            raise ItemNotFound("the live model does not know this item")
        others = [self._scored(item, int(item_id)) for item in CATALOGUE if item != item_id]
        return tuple(sorted(others, key=_best_first)[:k])

    def difference(self, state: bytes, expected: bytes) -> float:
        return 0.0 if state == expected else 1.0

    def describe(self) -> dict[str, Any]:
        return {"version": self.version, "config": {"dimension": 64}, "metrics": {"ndcg@10": 0.17}}


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


@dataclass
class _Log:
    generation: int
    sequence: int = 0
    events: list[Event] = field(default_factory=list)
    fingerprints: dict[str, tuple[str, int]] = field(default_factory=dict)
    snapshots: dict[str, tuple[int, bytes]] = field(default_factory=dict)


class NullBatchMeter:
    """A micro-batcher's meter that keeps nothing."""

    def batch_finished(self, size: int, seconds: float, queued: int) -> None: ...

    def request_rejected(self) -> None: ...

    def requests_expired(self, count: int) -> None: ...


class MemoryStore:
    def __init__(self) -> None:
        self.logs: dict[str, _Log] = {}
        self.generations = 0
        self.puts: list[list[SnapshotPut]] = []
        self.requests: list[int] = []
        self.down = False
        self.written: dict[str, str] = {}
        self.put_error: Exception | None = None

    def snapshot(self, user_id: str, version: str) -> bytes | None:
        stored = self.logs[user_id].snapshots.get(version)
        return None if stored is None else stored[1]

    def damage(self, user_id: str, version: str, blob: bytes) -> None:
        applied, _ = self.logs[user_id].snapshots[version]
        self.logs[user_id].snapshots[version] = (applied, blob)

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        if self.down:
            return [StoreUnavailable("the event log does not answer")] * len(requests)
        self.requests.append(len(requests))
        return [self._one(request) for request in requests]

    def _one(self, request: AppendAndRead) -> LogView:
        log = self.logs.get(request.user_id)
        if log is None:
            if not request.events:
                return LogView("", 0, 0, None, ())
            self.generations += 1
            log = self.logs[request.user_id] = _Log(self.generations)
        outcomes: list[Appended | Conflict] = []
        for new in request.events:
            known = log.fingerprints.get(new.event_id or "")
            if known is not None:
                same = known[0] == new.fingerprint
                outcomes.append(Appended(known[1], True) if same else Conflict(known[1]))
                continue
            log.sequence += 1
            event_id = new.event_id or f"seq-{log.sequence}"
            log.events.append(Event(log.sequence, new.item_id, new.timestamp, event_id))
            log.fingerprints[event_id] = (new.fingerprint, log.sequence)
            outcomes.append(Appended(log.sequence, False))
        applied, snapshot = log.snapshots.get(request.model_version or "", (0, None))
        pending = tuple(event for event in log.events if event.sequence > applied)
        return LogView(str(log.generation), log.sequence, 0, snapshot, pending, tuple(outcomes))

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        self.puts.append(list(puts))
        if self.put_error is not None:
            raise self.put_error
        return [self._put(put) for put in puts]

    def _put(self, put: SnapshotPut) -> bool:
        log = self.logs.get(put.user_id)
        if log is None or str(log.generation) != put.generation or put.applied > log.sequence:
            return False
        if not put.repair and log.snapshots.get(put.model_version, (0, b""))[0] >= put.applied:
            return False
        log.snapshots[put.model_version] = (put.applied, put.blob)
        return True

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        log = self.logs.get(user_id)
        if log is None:
            return None
        events = [event for event in log.events if before is None or event.sequence < before]
        return History(log.sequence, len(log.events), 0, tuple(events[-limit:]))

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        log = self.logs.get(user_id)
        if log is None or event_id not in log.fingerprints:
            return False
        log.events = [event for event in log.events if event.event_id != event_id]
        del log.fingerprints[event_id]
        log.snapshots.clear()
        self.generations += 1
        log.generation = self.generations
        return True

    async def delete_user(self, user_id: str) -> int:
        log = self.logs.pop(user_id, None)
        return 0 if log is None else len(log.events)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """As the contract has it, less what it says of repetitions; all sequences are new."""
        source = self.logs.pop(from_user_id, None)
        if source is None:
            return None
        self.generations += 1
        log = self.logs.setdefault(user_id, _Log(self.generations))
        log.generation = self.generations
        log.snapshots.clear()
        known = {name for name in log.fingerprints if not name.startswith("seq-")}
        fresh = [event for event in source.events if event.event_id not in known]
        same = sum(
            source.fingerprints[e.event_id][0] == log.fingerprints.get(e.event_id, ("",))[0] for e in source.events
        )
        events, log.events = sorted(log.events + fresh, key=lambda event: event.timestamp), []
        fingerprints = {**source.fingerprints, **log.fingerprints}
        log.fingerprints = {}
        for event in events:
            log.sequence += 1
            event_id = f"seq-{log.sequence}" if event.event_id.startswith("seq-") else event.event_id
            log.events.append(Event(log.sequence, event.item_id, event.timestamp, event_id))
            log.fingerprints[event_id] = (fingerprints[event.event_id][0], log.sequence)
        return Merged(len(fresh), same, len(source.events) - len(fresh) - same, log.sequence)

    async def finish_merges(self) -> int:
        return 0

    async def expire(self, user_ids: Sequence[str]) -> int:
        return 0

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        found = sorted(user for user in self.logs if user > cursor)[:limit]
        return found, found[-1] if len(found) == limit else ""

    async def records(self) -> dict[str, str]:
        if self.down:
            raise StoreUnavailable("the event log does not answer")
        return dict(self.written)

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        if self.down:
            raise StoreUnavailable("the event log does not answer")
        if self.written.get(name) != expected:
            return False
        self.written.pop(name, None)
        if text is not None:
            self.written[name] = text
        return True

    async def ping(self) -> None:
        if self.down:
            raise StoreUnavailable("the event log does not answer")

    async def close(self) -> None:
        self.down = True


@dataclass(slots=True)
class CountingMeter:
    """Meter that counts in a dictionary."""

    counts: dict[str, int] = field(default_factory=dict)
    ranks: list[tuple[str, TargetRank]] = field(default_factory=list)

    def events_replayed(self, count: int) -> None:
        self._add("replayed_events", count)

    def cold_start(self) -> None:
        self._add("cold_starts")

    def snapshot_damaged(self) -> None:
        self._add("snapshots_damaged")

    def event_evaluated(self, model_version: str, rank: TargetRank) -> None:
        self.ranks.append((model_version, rank))

    def _add(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount
