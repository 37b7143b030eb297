"""Look-ups of similar items share the engine's one thread with the turns."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from service.batching import MicroBatcher
from service.core.errors import ItemNotFound, Overloaded
from service.core.ports import ScoredItem, SimilarJob
from service.main import run_similar
from tests.core.fakes import FakeEngine, NoMeter


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
