"""Tests of the stream consumer, with parts that fail on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from service.core.errors import EventConflict, InvalidRequest, ServiceError, StoreUnavailable
from service.core.events import NewEvent
from service.core.jobs.streams.event_writer import EventWriter
from service.core.jobs.streams.stream_consumer import StreamConsumer
from service.core.jobs.streams.stream_source import FIRST, LeaseLostError, RejectedEntry, StreamEntry
from service.core.recommending.results import Recorded

pytestmark = pytest.mark.anyio


class MemorySource:
    """`StreamSource` of one worker, in memory."""

    def __init__(self, count: int, pending: int = 0) -> None:
        self.entries = [StreamEntry(f"{n}-0", {b"n": str(n).encode()}) for n in range(1, count + 1)]
        self.read_count = pending
        self.acknowledged: list[str] = []
        self.rejected: list[RejectedEntry] = []
        self.lost = self.released = self.closed = False
        self.drained = asyncio.Event()

    async def acquire_lease(self) -> bool:
        self.lost = False
        return True

    async def renew_lease(self) -> None:
        if self.lost:
            raise LeaseLostError

    async def read_pending(self, after: str, limit: int) -> tuple[list[StreamEntry], str]:
        await self.renew_lease()
        return [entry for entry in self.entries[: self.read_count] if entry.entry_id not in self.acknowledged], FIRST

    async def read_new(self, limit: int) -> list[StreamEntry]:
        await self.renew_lease()
        found = self.entries[self.read_count : self.read_count + limit]
        self.read_count += len(found)
        return found

    async def acknowledge(self, done: Sequence[StreamEntry], rejected: Sequence[RejectedEntry]) -> None:
        self.acknowledged += [entry.entry_id for entry in (*done, *(item.entry for item in rejected))]
        self.rejected += rejected
        if len(self.acknowledged) == len(self.entries):
            self.drained.set()

    async def lag(self) -> int | None:
        return len(self.entries) - len(self.acknowledged)

    async def release_lease(self) -> None:
        self.released = True

    async def close(self) -> None:
        self.closed = True


class Meter:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.lags: list[int | None] = []

    def stream_entries(self, outcome: str, count: int) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + count

    def stream_lag(self, entries: int | None) -> None:
        self.lags.append(entries)


class Parser:
    """Parser that rejects the third entry."""

    def parse(self, entry: StreamEntry) -> tuple[str, NewEvent]:
        number = entry.fields[b"n"].decode()
        if number == "3":
            raise InvalidRequest(
                "does not follow the contract", details=[{"field": "item_id", "problem": "is required"}]
            )
        return f"user {int(number) % 2}", NewEvent.create(number, None, f"e{number}", 0.0)


Fault = Callable[[int, str], ServiceError | None]


class FakeRecommender:
    """Recommender that appends each event, unless `fault(call, item)` returns an error."""

    def __init__(self, fault: Fault) -> None:
        self.items: list[str] = []
        self.calls = 0
        self._fault = fault

    async def record_batch(self, events: Sequence[tuple[str, NewEvent]]) -> list[Recorded | ServiceError]:
        self.calls += 1
        outcomes: list[Recorded | ServiceError] = []
        for _, event in events:
            error = self._fault(self.calls, event.item_id)
            duplicate = event.item_id in self.items
            if error is None and not duplicate:
                self.items.append(event.item_id)
            outcomes.append(error or Recorded(1, duplicate, True, None))
        return outcomes


async def drain(source: MemorySource, recommender: FakeRecommender, meter: Meter) -> None:
    consumer = StreamConsumer("clicks", source, EventWriter(Parser(), recommender), meter)
    consumer.start()
    async with asyncio.timeout(30):
        await source.drained.wait()
    await consumer.close()
    assert (source.released, source.closed) == (True, True)


async def test_events_are_appended_in_order_and_invalid_entries_are_rejected() -> None:
    source, recommender, meter = MemorySource(600, pending=2), FakeRecommender(lambda call, item: None), Meter()
    recommender.items = ["1"]  # appended before a crash, and not acknowledged
    await drain(source, recommender, meter)
    assert recommender.items == [str(n) for n in range(1, 601) if n != 3]
    assert source.acknowledged[:2] == ["1-0", "2-0"]
    assert sorted(source.acknowledged) == sorted(entry.entry_id for entry in source.entries)
    [rejected] = source.rejected
    assert rejected.reason == "invalid_request: does not follow the contract (item_id is required)"
    assert meter.counts == {"recorded": 598, "duplicate": 1, "refused": 1}
    assert meter.lags[-1] == 0


async def test_order_of_each_user_survives_an_outage_of_the_log() -> None:
    down = StoreUnavailable("down")
    # From the second call on the events of one user are appended, from the fourth on those of both.
    source, meter = MemorySource(300), Meter()
    recommender = FakeRecommender(lambda call, item: down if call == 1 or (call < 4 and int(item) % 2) else None)
    await drain(source, recommender, meter)
    for user in (0, 1):
        assert [int(item) for item in recommender.items if int(item) % 2 == user] == [
            n for n in range(1, 301) if n % 2 == user and n != 3
        ]
    assert len(source.rejected) == 1


async def test_conflict_and_repeated_internal_error_are_rejected() -> None:
    def fault(call: int, item: str) -> ServiceError | None:
        if item == "5":
            return EventConflict("used with another payload")
        return ServiceError("the service failed on this event") if item == "6" else None

    source, recommender, meter = MemorySource(10), FakeRecommender(fault), Meter()
    await drain(source, recommender, meter)
    assert {item.entry.entry_id: item.reason.partition(":")[0] for item in source.rejected} == {
        "3-0": "invalid_request",
        "5-0": "event_conflict",
        "6-0": "internal_error",
    }
    assert recommender.items == ["1", "2", "4", "7", "8", "9", "10"]


async def test_lost_lease_during_an_outage_leaves_entries_pending() -> None:
    source = MemorySource(4)

    def fault(call: int, item: str) -> ServiceError | None:
        if call == 1:
            source.lost = True
            return StoreUnavailable("down")
        return None

    recommender, meter = FakeRecommender(fault), Meter()
    await drain(source, recommender, meter)  # the consumer acquires the lease again, and finds the entries pending
    assert recommender.items == ["1", "2", "4"]
    assert 0 in meter.lags


async def test_close_during_an_outage_returns_and_leaves_entries_pending() -> None:
    called = asyncio.Event()

    def down(call: int, item: str) -> ServiceError:
        called.set()
        return StoreUnavailable("down")

    source, recommender = MemorySource(4), FakeRecommender(down)
    consumer = StreamConsumer("clicks", source, EventWriter(Parser(), recommender), Meter())
    consumer.start()
    async with asyncio.timeout(10):
        await called.wait()
        await consumer.close()
    assert source.acknowledged == ["3-0"]
