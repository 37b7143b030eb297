"""Workers that compute and follow the vectors of new items."""

from __future__ import annotations

import gc
import weakref

import pytest

from service.core.catalogue.items import Item
from service.core.errors import StoreUnavailable
from service.core.jobs.new_items.followed_model import CHUNK
from service.core.jobs.new_items.vector_sync import POLL_SECONDS
from service.core.new_items.vector_mark import UNMARKED, VectorMark, item_hash
from service.core.new_items.vector_store import VectorPosition
from tests.core.fakes import FakeEncoder, FakeEngine
from tests.core.jobs.new_items.worker import encoding_engine, titled, worker, workers

pytestmark = pytest.mark.anyio


async def test_new_item_gets_its_vector_and_extends_the_engine() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100", "abc"), titled("7"), Item("101"))
        assert not one.sync.is_complete(engine)
        assert await one.sync.poll() == POLL_SECONDS
        assert engine.appended == {"100": [3.0]}  # 7 is known to the model, and 101 has no content
        assert one.copy.rows == {"v1": ["100"]}
        assert one.sync.is_complete(engine)
        assert (one.meter.held, one.meter.waiting, one.meter.age_seconds) == ({"v1": 1}, 0, 0.0)
        held = one.sync.held(engine)
        assert held is not None and held.position == one.vectors.lists["v1"][0].position


async def test_model_without_an_encoder_costs_nothing() -> None:
    async with worker() as one:
        engine = FakeEngine()
        await one.sync.add(engine)
        await one.put(titled("100"))
        await one.sync.poll()
        assert one.sync.held(engine) is None
        assert (one.vectors.reads, one.vectors.appends) == (0, [])
        assert one.sync.is_complete(engine)


async def test_workers_agree_on_the_order_of_new_items() -> None:
    async with workers() as (one, two):
        engines = [await each.load() for each in (one, two)]
        await one.put(titled("100"), titled("101"))
        await two.put(titled("102"))
        await two.sync.poll()
        await one.sync.poll()
        await two.sync.poll()
        two.copy.change("100", "101")
        await two.sync.poll()
        assert [list(engine.appended) for engine in engines] == [["102", "100", "101"]] * 2
        assert one.copy.rows == two.copy.rows == {"v1": ["102", "100", "101"]}


async def test_vector_is_computed_once_whatever_its_later_edits() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100", "abc"))
        await one.sync.poll()
        await one.put(titled("100", "abcdef"))
        await one.sync.poll()
        await one.delete("100")
        assert engine.appended == {"100": [3.0]}
        assert engine.encoder is not None and isinstance(engine.encoder, FakeEncoder) and engine.encoder.encoded == 1
        again = await one.load()
        assert again.appended == {"100": [3.0]}


async def test_item_gets_its_vector_with_its_content() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(Item("100"))
        await one.sync.poll()
        assert not engine.appended
        assert one.sync.is_complete(engine)
        await one.put(titled("100"))
        await one.sync.poll()
        assert list(engine.appended) == ["100"]


async def test_deleted_item_gets_no_vector() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100"))
        await one.delete("100")
        await one.sync.poll()
        assert not engine.appended
        assert one.sync.is_complete(engine)


async def test_loaded_model_has_all_vectors_when_it_is_added() -> None:
    async with worker() as one:
        items = [titled(str(number)) for number in range(100, 100 + 3 * CHUNK)]
        await one.put(*items)
        engine = await one.load()
        assert set(engine.appended) == {item.item_id for item in items}
        assert one.sync.is_complete(engine)
        other = await one.load("v2")
        assert set(other.appended) == set(engine.appended)
        assert max(map(len, one.vectors.appends)) == CHUNK


async def test_start_gives_vectors_to_items_that_were_restored_without_a_change() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100"), seen=False)
        one.copy.log.append("100")  # as a local snapshot of the columns restores it
        await one.sync.start()
        assert list(engine.appended) == ["100"]


async def test_many_items_are_computed_in_chunks() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(*(titled(str(number)) for number in range(100, 100 + CHUNK + 5)))
        assert await one.sync.poll() == 0.0
        assert (engine.extended, one.meter.waiting) == (CHUNK, 5)
        assert await one.sync.poll() == POLL_SECONDS
        assert engine.extended == CHUNK + 5


async def test_forgotten_changes_are_found_by_a_scan() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100"), titled("101"), titled("102"), titled("103"))
        one.copy.forgotten = 3
        assert not one.sync.is_complete(engine)
        await one.sync.poll()
        assert sorted(engine.appended) == ["100", "101", "102", "103"]


async def test_outage_keeps_what_is_held_and_is_made_up_for() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100"))
        await one.sync.poll()
        one.vectors.down, one.now = True, 5.0
        await one.put(titled("101"))
        with pytest.raises(StoreUnavailable):
            await one.sync.poll()
        assert list(engine.appended) == ["100"]
        assert (one.meter.waiting, one.meter.age_seconds) == (1, 5.0)
        assert await one.sync.prepare(engine, None, ["101"]) == "usable"
        one.vectors.down = False
        await one.sync.poll()
        assert list(engine.appended) == ["100", "101"]


async def test_entries_that_a_failover_undid_are_replaced() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100"), titled("101"))
        await one.sync.poll()
        undone = VectorMark(one.vectors.lists["v1"][-1].position)
        del one.vectors.lists["v1"][1:]
        await one.vectors.append("v1", [("200", b"\0\0\x80?")])
        assert await one.sync.prepare(engine, undone, []) == "usable"  # not noticed yet
        await one.sync.poll()
        assert list(engine.appended) == one.copy.rows["v1"] == one.order()
        assert one.order()[:2] == ["100", "200"]
        await one.sync.poll()
        assert one.order() == ["100", "200", "101"]
        assert one.copy.rows["v1"] == list(engine.appended) == one.order()
        held = one.sync.held(engine)
        assert held is not None and held.epoch == 1
        assert await one.sync.prepare(engine, undone, []) == "undone"


async def test_released_engine_is_not_kept_alive() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100"))
        ended: list[bool] = []
        weakref.finalize(engine, ended.append, True)
        del engine
        gc.collect()
        assert ended == [True]
        await one.sync.poll()
        one.sync.remove("v1")
        await one.sync.poll()
        assert one.meter.held == {}


async def test_unknown_item_is_learnt_before_its_event_is_replayed() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100"), titled("101"))
        assert await one.sync.prepare(engine, None, ["1", "100"]) == "usable"
        assert list(engine.appended) == ["100"]
        reads = one.vectors.reads
        assert await one.sync.prepare(engine, None, ["1", "100", "never put"]) == "usable"
        assert one.vectors.reads == reads


async def test_snapshot_of_a_worker_ahead_is_usable_after_catching_up() -> None:
    async with workers() as (one, two):
        engine, _ = await one.load(), await two.load()
        await two.put(titled("100"))
        await two.sync.poll()
        mark = VectorMark(two.vectors.lists["v1"][-1].position)
        assert await one.sync.prepare(engine, mark, []) == "usable"
        assert list(engine.appended) == ["100"]


async def test_snapshot_beyond_what_can_be_read_is_outdated_and_kept() -> None:
    async with worker() as one:
        engine = await one.load()
        one.vectors.down = True
        mark = VectorMark(VectorPosition(3, "0" * 16))
        assert await one.sync.prepare(engine, mark, []) == "outdated"
        one.vectors.down = False
        assert await one.sync.prepare(engine, mark, []) == "undone"


async def test_snapshot_that_skipped_an_item_is_outdated_with_its_vector() -> None:
    async with worker() as one:
        engine = await one.load()
        await one.put(titled("100"))
        await one.sync.poll()
        position = one.vectors.lists["v1"][-1].position
        skipped = VectorMark(position, (item_hash("101"),))
        assert await one.sync.prepare(engine, skipped, []) == "usable"
        await one.put(titled("102"))
        await one.sync.poll()
        assert await one.sync.prepare(engine, skipped, []) == "usable"
        await one.put(titled("101"))
        await one.sync.poll()
        assert await one.sync.prepare(engine, skipped, []) == "outdated"
        assert await one.sync.prepare(engine, UNMARKED, []) == "outdated"


async def test_newer_engine_of_a_version_is_followed() -> None:
    async with worker() as one:
        older = await one.load()
        await one.put(titled("100"))
        newer = encoding_engine()
        await one.sync.add(newer)
        await one.put(titled("101"))
        await one.sync.poll()
        assert (list(older.appended), list(newer.appended)) == ([], ["100", "101"])
        assert one.copy.rows["v1"] == ["100", "101"]
