"""Order in which waiting items get vectors, and when all have them."""

from __future__ import annotations

import pytest

from service.core.jobs.new_items.followed_model import CHUNK
from tests.core.jobs.new_items.worker import titled, worker

pytestmark = pytest.mark.anyio


async def test_model_is_complete_in_spite_of_a_steady_stream_of_new_items() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(*(titled(str(number)) for number in range(100, 100 + 2 * CHUNK)))
        assert not one.sync.is_complete(engine)
        answers = []
        for number in range(10_000, 10_008):  # one more before each question
            await one.sync.poll()
            await one.put(titled(str(number)))
            answers.append(one.sync.is_complete(engine))
        assert answers.index(True) > 0  # not before those of the first question have their vectors
        assert {str(number) for number in range(100, 100 + 2 * CHUNK)} <= set(engine.appended)
        # A later rollout waits for the items that were put until then.
        await one.put(titled("20000"))
        assert not one.sync.is_complete(engine)


async def test_single_item_does_not_wait_for_the_end_of_a_large_load() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(*(titled(str(number)) for number in range(100, 100 + 10 * CHUNK)))
        await one.sync.poll()
        await one.put(titled("single"))
        await one.sync.poll()
        assert "single" in engine.appended
        assert len(engine.appended) <= 2 * CHUNK
        while not one.sync.is_complete(engine):
            await one.sync.poll()
        assert len(engine.appended) == 10 * CHUNK + 1
