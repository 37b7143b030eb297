"""In-memory event log that keeps the contract of `core.ports.Store`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.core.attribution.credits import USER_SHARDS, CounterPage, additions, shard_of
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, Appended, Conflict, Event, History, LogView, Merged, SnapshotPut
from service.core.new_items.vector_mark import is_better


@dataclass
class _Log:
    generation: int
    sequence: int = 0
    events: list[Event] = field(default_factory=list)
    fingerprints: dict[str, tuple[str, int]] = field(default_factory=dict)
    snapshots: dict[str, tuple[int, bytes]] = field(default_factory=dict)


class MemoryStore:
    def __init__(self) -> None:
        self.logs: dict[str, _Log] = {}
        self.generations = 0
        self.puts: list[list[SnapshotPut]] = []
        self.requests: list[int] = []
        self.down = False
        self.used: float | None = None  # fraction of the memory limit
        self.written: dict[str, str] = {}
        self.put_error: Exception | None = None
        self.counters: list[dict[str, int]] = [{} for _ in range(USER_SHARDS)]
        self.credits: dict[tuple[str, int], str] = {}

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
            log.events.append(Event(log.sequence, new.item_id, new.timestamp, event_id, *new[4:7]))
            log.fingerprints[event_id] = (new.fingerprint, log.sequence)
            if new.credit:
                self.credits[request.user_id, log.sequence] = new.credit
                self._count(request.user_id, new.credit, 1)
            outcomes.append(Appended(log.sequence, False))
        applied, snapshot = log.snapshots.get(request.model_version or "", (0, None))
        pending = tuple(event for event in log.events if event.sequence > applied)
        typed_from = min([event.sequence for event in log.events if event.type], default=0)
        return LogView(
            str(log.generation), log.sequence, 0, snapshot, pending, tuple(outcomes), typed_from=typed_from
        )

    def _count(self, user_id: str, credit: str, sign: int) -> None:
        counters = self.counters[shard_of(user_id)]
        for name, amount in additions(credit):
            counters[name] = counters.get(name, 0) + sign * amount

    async def attribution_counters(self, pages: Sequence[CounterPage]) -> list[tuple[dict[str, int], str]]:
        if self.down:
            raise StoreUnavailable("the event log does not answer")
        return [(dict(self.counters[page.shard]), "") for page in pages]

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        self.puts.append(list(puts))
        if self.put_error is not None:
            raise self.put_error
        return [self._put(put) for put in puts]

    def _put(self, put: SnapshotPut) -> bool:
        log = self.logs.get(put.user_id)
        if log is None or str(log.generation) != put.generation or put.applied > log.sequence:
            return False
        applied, blob = log.snapshots.get(put.model_version, (0, b""))
        if not put.repair and not is_better(put.blob, put.applied, blob, applied):
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
        _, sequence = log.fingerprints.pop(event_id)
        if credit := self.credits.pop((user_id, sequence), ""):
            self._count(user_id, credit, -1)
        log.snapshots.clear()
        self.generations += 1
        log.generation = self.generations
        return True

    async def delete_user(self, user_id: str) -> int:
        log = self.logs.pop(user_id, None)
        return 0 if log is None else len(log.events)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """Merge with new sequences for all events; repeated merges are unknown."""
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
            log.events.append(event._replace(sequence=log.sequence, event_id=event_id))
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

    async def memory_used(self) -> float | None:
        return self.used

    async def close(self) -> None:
        self.down = True
