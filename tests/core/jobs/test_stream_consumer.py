"""The consumer over a source and a log in plain Python that fail on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from service.core.errors import EventConflict, InvalidRequest, ServiceError, StoreUnavailable
from service.core.events import NewEvent
from service.core.jobs.stream_consumer import FIRST, LeaseLostError, RejectedEntry, StreamConsumer, StreamEntry
from service.core.recommending.results import Recorded

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class MemorySource:
    """Keeps the contract of `EventSource` for one worker."""

    def __init__(self, count: int, pending: int = 0) -> None:
        self.entries = [StreamEntry(f"{n}-0", {b"n": str(n).encode()}) for n in range(1, count + 1)]
        self.read = pending
        self.finished: list[str] = []
        self.refused: list[RejectedEntry] = []
        self.lost = self.released = self.closed = False
        self.drained = asyncio.Event()

    async def acquire_lease(self) -> bool:
        self.lost = False
        return True

    async def renew_lease(self) -> None:
        if self.lost:
            raise LeaseLostError

    async def read_pending(self, after: str, most: int) -> tuple[list[StreamEntry], str]:
        await self.renew_lease()
        return [entry for entry in self.entries[: self.read] if entry.entry_id not in self.finished], FIRST

    async def read_new(self, most: int) -> list[StreamEntry]:
        await self.renew_lease()
        found = self.entries[self.read : self.read + most]
        self.read += len(found)
        return found

    async def acknowledge(self, done: Sequence[StreamEntry], rejected: Sequence[RejectedEntry]) -> None:
        self.finished += [entry.entry_id for entry in (*done, *(each.entry for each in rejected))]
        self.refused += rejected
        if len(self.finished) == len(self.entries):
            self.drained.set()

    async def lag(self) -> int | None:
        return len(self.entries) - len(self.finished)

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


def parse(entry: StreamEntry) -> tuple[str, NewEvent]:
    number = entry.fields[b"n"].decode()
    if number == "3":
        raise InvalidRequest("does not follow the contract", details=[{"field": "item_id", "problem": "is required"}])
    return f"user {int(number) % 2}", NewEvent.create(number, None, f"e{number}", 0.0)


Fault = Callable[[int, str], ServiceError | None]


class Log:
    """Records, or answers what `fault(call, item)` says."""

    def __init__(self, fault: Fault) -> None:
        self.items: list[str] = []
        self.calls = 0
        self._fault = fault

    async def record(self, events: Sequence[tuple[str, NewEvent]]) -> list[Recorded | ServiceError]:
        self.calls += 1
        outcomes: list[Recorded | ServiceError] = []
        for _, event in events:
            error = self._fault(self.calls, event.item_id)
            duplicate = event.item_id in self.items
            if error is None and not duplicate:
                self.items.append(event.item_id)
            outcomes.append(error or Recorded(1, duplicate, True, None))
        return outcomes


async def drain(source: MemorySource, log: Log, meter: Meter) -> None:
    consumer = StreamConsumer(source, parse, log.record, meter)
    consumer.start()
    async with asyncio.timeout(30):
        await source.drained.wait()
    await consumer.close()
    assert (source.released, source.closed) == (True, True)


async def test_all_come_in_order_what_was_pending_first_and_the_bad_are_put_aside() -> None:
    source, log, meter = MemorySource(600, pending=2), Log(lambda call, item: None), Meter()
    log.items = ["1"]  # its acknowledgement to the stream was lost
    await drain(source, log, meter)
    assert log.items == [str(n) for n in range(1, 601) if n != 3]
    assert source.finished[:2] == ["1-0", "2-0"]
    assert sorted(source.finished) == sorted(entry.entry_id for entry in source.entries)
    [refused] = source.refused
    assert refused.reason == "invalid_request: does not follow the contract (item_id is required)"
    assert meter.counts == {"recorded": 598, "duplicate": 1, "refused": 1}
    assert meter.lags[-1] == 0


async def test_while_the_log_is_down_nothing_is_finished_and_nothing_overtakes() -> None:
    down = StoreUnavailable("down")
    # From the second call on half of the users are back, from the fourth on all are.
    source, meter = MemorySource(300), Meter()
    log = Log(lambda call, item: down if call == 1 or (call < 4 and int(item) % 2) else None)
    await drain(source, log, meter)
    for user in (0, 1):
        assert [int(item) for item in log.items if int(item) % 2 == user] == [
            n for n in range(1, 301) if n % 2 == user and n != 3
        ]
    assert len(source.refused) == 1


async def test_a_conflict_and_an_event_at_which_the_service_fails_block_nobody() -> None:
    def fault(call: int, item: str) -> ServiceError | None:
        if item == "5":
            return EventConflict("used with another payload")
        return ServiceError("the service failed on this event") if item == "6" else None

    source, log, meter = MemorySource(10), Log(fault), Meter()
    await drain(source, log, meter)
    assert {each.entry.entry_id: each.reason.partition(":")[0] for each in source.refused} == {
        "3-0": "invalid_request",
        "5-0": "event_conflict",
        "6-0": "internal_error",
    }
    assert log.items == ["1", "2", "4", "7", "8", "9", "10"]


async def test_who_loses_the_lease_while_the_log_is_down_leaves_the_rest_to_others() -> None:
    source = MemorySource(4)

    def fault(call: int, item: str) -> ServiceError | None:
        if call == 1:
            source.lost = True
            return StoreUnavailable("down")
        return None

    log, meter = Log(fault), Meter()
    await drain(source, log, meter)  # it takes the lease again, and then finds them unfinished
    assert log.items == ["1", "2", "4"]
    assert 0 in meter.lags


async def test_a_stop_while_the_log_is_down_finishes_nothing_and_does_not_wait_for_it() -> None:
    called = asyncio.Event()

    def down(call: int, item: str) -> ServiceError:
        called.set()
        return StoreUnavailable("down")

    source, log = MemorySource(4), Log(down)
    consumer = StreamConsumer(source, parse, log.record, Meter())
    consumer.start()
    async with asyncio.timeout(10):
        await called.wait()
        await consumer.close()
    assert source.finished == ["3-0"]
