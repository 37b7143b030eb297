"""Turns of one model are one batch, on the event loop or in the thread that look-ups of similar items have, too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from service.core.engine_requests import EngineRequest, EngineResult, ScoredItem, StateDamagedError, TopK
from service.core.errors import ItemNotFound, Overloaded
from service.core.ports import SimilarJob
from service.core.recommending.batching import MicroBatcher
from service.engine import run_engine_requests, run_similar
from tests.core.fakes import FakeEngine, NoMeter


def test_turns_of_two_models_keep_their_order() -> None:
    class Broken(FakeEngine):
        def run(self, requests: object) -> list[object]:  # type: ignore[override]
            raise RuntimeError("broken")

    async def scenario() -> None:
        old, new, broken = FakeEngine("old"), FakeEngine("new"), Broken("broken")
        jobs = [
            (engine, EngineRequest(None, (str(n + 1),), TopK(1, False)))
            for n, engine in enumerate((old, new, broken) * 2)
        ]
        with ThreadPoolExecutor(1) as thread:
            results = await run_engine_requests(thread, 2e-3, jobs)
        assert [isinstance(result, EngineResult) for result in results] == [True, True, False] * 2
        assert [result.items[0].item_id for result in results if isinstance(result, EngineResult)] == [
            "1",
            "2",
            "4",
            "5",
        ]
        assert (old.batches, new.batches) == ([2], [2])

    asyncio.run(scenario())


class Ranked(FakeEngine):
    """Notes in which thread it runs."""

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        self.place = threading.current_thread().name
        return super().run(requests)


@pytest.mark.parametrize(("seconds", "where"), [(0.0, "MainThread"), (1.0, "engine_0"), (float("inf"), "engine_0")])
def test_what_takes_long_runs_in_a_thread_and_the_rest_where_it_is(seconds: float, where: str) -> None:
    async def scenario() -> None:
        engine = Ranked(seconds=seconds)
        with ThreadPoolExecutor(1, thread_name_prefix="engine") as thread:
            await run_engine_requests(thread, 2e-3, [(engine, EngineRequest(None, ("1",), None))] * 2)
        assert (engine.place, engine.batches) == (where, [2])

    asyncio.run(scenario())


@pytest.mark.parametrize(("seconds", "where"), [(0.9e-3, "MainThread"), (1.1e-3, "engine_0")])
def test_what_two_models_take_together_counts(seconds: float, where: str) -> None:
    async def scenario() -> None:
        engines = Ranked("live", seconds), Ranked("tested", seconds)
        with ThreadPoolExecutor(1, thread_name_prefix="engine") as thread:
            await run_engine_requests(
                thread, 2e-3, [(engine, EngineRequest(None, ("1",), None)) for engine in engines]
            )
        assert [engine.place for engine in engines] == [where] * 2

    asyncio.run(scenario())


class Watched(FakeEngine):
    """Notes in which thread it is asked, and waits for `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()
        self.gate = threading.Event()

    def similar(self, item_id: str, k: int) -> tuple[ScoredItem, ...]:
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        return super().similar(item_id, k)


def test_they_run_in_the_engines_thread_and_a_bounded_number_waits() -> None:
    async def scenario() -> None:
        engine = Watched()
        with ThreadPoolExecutor(1, thread_name_prefix="engine") as thread:
            batcher: MicroBatcher[SimilarJob, tuple[ScoredItem, ...]] = MicroBatcher(
                partial(run_similar, thread), max_batch=2, max_queue=3, meter=NoMeter()
            )
            running = asyncio.create_task(batcher.submit((engine, "1", 1)))
            await asyncio.sleep(0.01)
            items = ("2", "no such item", "3")
            waiting = [asyncio.create_task(batcher.submit((engine, item, 1))) for item in items]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await batcher.submit((engine, "4", 1))
            engine.gate.set()
            assert (await running)[0].item_id == "2"
            first, unknown, last = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(unknown, ItemNotFound)
            assert [found[0].item_id for found in (first, last) if isinstance(found, tuple)] == ["1", "2"]
        assert engine.threads == {"engine_0"}

    asyncio.run(scenario())
