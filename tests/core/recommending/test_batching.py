"""Batched store and engine: shared calls, threads and results."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Sequence

import pytest

from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, ScoredItem, TopK
from service.core.errors import DeadlineExceeded, ItemNotFound, Overloaded, StateDamagedError, StoreUnavailable
from service.core.events import AppendAndRead, Appended, LogView, NewEvent
from service.core.recommending.batching import BatchedEngine, BatchedStore
from tests.core.fakes import FakeEngine, NullBatchMeter
from tests.core.memory_store import MemoryStore

ONE_ITEM = EngineRequest(None, ("1",), None)


def batched_engine(**limits: int) -> BatchedEngine:
    return BatchedEngine(NullBatchMeter(), NullBatchMeter(), **limits)


def append(user_id: str, item_id: str) -> AppendAndRead:
    return AppendAndRead(user_id, "v1", (NewEvent.create(item_id, None, None, now=1.0),))


def test_concurrent_appends_share_round_trips() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        batched = BatchedStore(store, NullBatchMeter(), max_batch=3)
        views = await asyncio.gather(*(batched.append_and_read(append(f"user {n % 2}", str(n))) for n in range(5)))
        assert store.requests == [3, 2]
        assert [view.appended for view in views] == [(Appended(n, False),) for n in (1, 1, 2, 2, 3)]

    asyncio.run(scenario())


def test_request_that_the_store_refuses_fails_alone() -> None:
    class HalfDown(MemoryStore):
        async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
            views = await super().append_and_read(requests)
            return [StoreUnavailable("down") if r.user_id == "u" else v for r, v in zip(requests, views, strict=True)]

    async def scenario() -> None:
        batched = BatchedStore(HalfDown(), NullBatchMeter())
        refused, served = await asyncio.gather(
            batched.append_and_read(append("u", "1")),
            batched.append_and_read(append("v", "1")),
            return_exceptions=True,
        )
        assert isinstance(refused, StoreUnavailable)
        assert isinstance(served, LogView)

    asyncio.run(scenario())


def test_append_after_its_deadline_is_not_started() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        with pytest.raises(DeadlineExceeded):
            await BatchedStore(store, NullBatchMeter()).append_and_read(append("u", "1"), time.monotonic() - 1)
        assert store.logs == {}

    asyncio.run(scenario())


def test_requests_of_several_engines_keep_their_order() -> None:
    async def scenario() -> None:
        old, new, broken = FakeEngine("old"), FakeEngine("new"), FakeEngine("broken")
        broken.error = RuntimeError("broken")
        batched = batched_engine()
        results = await asyncio.gather(
            *(
                batched.run(engine, EngineRequest(None, (str(n + 1),), TopK(1, False)))
                for n, engine in enumerate((old, new, broken) * 2)
            ),
            return_exceptions=True,
        )
        assert [isinstance(result, EngineResult) for result in results] == [True, True, False] * 2
        assert [result.items[0].item_id for result in results if isinstance(result, EngineResult)] == [
            "1",
            "2",
            "4",
            "5",
        ]
        assert (old.batches, new.batches) == ([2], [2])

    asyncio.run(scenario())


def test_damaged_state_fails_its_own_request_alone() -> None:
    async def scenario() -> None:
        engine, batched = FakeEngine(), batched_engine()
        results = await asyncio.gather(
            batched.run(engine, ONE_ITEM._replace(state=b"?")), batched.run(engine, ONE_ITEM), return_exceptions=True
        )
        assert [type(result) for result in results] == [StateDamagedError, EngineResult]

    asyncio.run(scenario())


def test_low_priority_requests_run_after_the_others() -> None:
    order: list[str | None] = []

    class OrderedEngine(FakeEngine):
        def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
            order.extend(request.items[0] for request in requests)
            return super().run(requests)

    async def scenario() -> None:
        engine, batched = OrderedEngine(), batched_engine()
        requests = [EngineRequest(None, (str(n),), None) for n in range(4)]
        await asyncio.gather(
            batched.run_low_priority(engine, requests[0]),
            batched.run(engine, requests[1]),
            batched.run_low_priority(engine, requests[2]),
            batched.run(engine, requests[3]),
        )
        assert order == ["1", "3", "0", "2"]

    asyncio.run(scenario())


class ThreadNamingEngine(FakeEngine):
    """Remembers the thread that it ran in."""

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        self.thread = threading.current_thread().name
        return super().run(requests)


@pytest.mark.parametrize(("seconds", "thread"), [(0.0, "MainThread"), (1.0, "engine_0"), (math.inf, "engine_0")])
def test_long_batch_runs_in_the_engine_thread(seconds: float, thread: str) -> None:
    async def scenario() -> None:
        engine, batched = ThreadNamingEngine(seconds=seconds), batched_engine()
        await asyncio.gather(batched.run(engine, ONE_ITEM), batched.run(engine, ONE_ITEM))
        await batched.close()
        assert (engine.thread, engine.batches) == (thread, [2])

    asyncio.run(scenario())


@pytest.mark.parametrize(("seconds", "thread"), [(0.9e-3, "MainThread"), (1.1e-3, "engine_0")])
def test_costs_of_two_engines_are_added(seconds: float, thread: str) -> None:
    async def scenario() -> None:
        engines, batched = (
            [ThreadNamingEngine("live", seconds), ThreadNamingEngine("tested", seconds)],
            batched_engine(),
        )
        await asyncio.gather(*(batched.run(engine, ONE_ITEM) for engine in engines))
        await batched.close()
        assert [engine.thread for engine in engines] == [thread] * 2

    asyncio.run(scenario())


class BlockingEngine(FakeEngine):
    """Remembers the threads that it searched in, and waits for `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()
        self.gate = threading.Event()

    def similar(
        self, item_id: str, k: int, allowed: AllowedRows | None = None, exclude: Sequence[str] = ()
    ) -> tuple[ScoredItem, ...]:
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        return super().similar(item_id, k, allowed, exclude)


def test_similar_items_are_searched_in_the_thread_of_long_requests_from_a_bounded_queue() -> None:
    async def scenario() -> None:
        engine, batched = BlockingEngine(), batched_engine(max_similar_batch=2, max_queue=3)
        running = asyncio.create_task(batched.similar(engine, "1", TopK(1, False)))
        await asyncio.sleep(0.01)
        items = ("2", "no such item", "3")
        queued = [asyncio.create_task(batched.similar(engine, item, TopK(1, False))) for item in items]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await batched.similar(engine, "4", TopK(1, False))
        engine.gate.set()
        assert (await running)[0].item_id == "2"
        first, unknown, last = await asyncio.gather(*queued, return_exceptions=True)
        assert isinstance(unknown, ItemNotFound)
        assert [found[0].item_id for found in (first, last) if isinstance(found, tuple)] == ["1", "2"]
        await batched.close()
        assert engine.threads == {"engine-long_0"}

    asyncio.run(scenario())
