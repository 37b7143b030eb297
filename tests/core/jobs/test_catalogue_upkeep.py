"""Workers start from the snapshot, whatever happened to the store since."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.columns.item_columns import TITLE
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import CATALOGUE_SHARDS, ItemWrite
from service.core.jobs import catalogue_upkeep
from service.core.jobs.catalogue_sync import CatalogueSync
from service.core.jobs.catalogue_upkeep import CatalogueUpkeep
from service.store.column_file import ColumnFile
from tests.core.jobs.catalogue_worker import IDS, Meter
from tests.core.memory_catalogue import MemoryCatalogue

pytestmark = pytest.mark.anyio

COUNT = 500


class Worker:
    """A worker with the real copy, and a snapshot in a file."""

    def __init__(self, store: MemoryCatalogue, file: ColumnFile | None) -> None:
        self.store, self.now = store, 0.0
        self.copy = Catalogue(CATALOGUE_SHARDS)
        self.upkeep = CatalogueUpkeep(self.copy, store, file, min_items=10, check_seconds=30, clock=lambda: self.now)
        definitions = KnownDefinitions(store, self.copy.set_definitions)
        self.sync = CatalogueSync(store, self.copy, definitions, Meter(), restore=self.upkeep.restore)

    async def step(self) -> None:
        self.now += 31
        await self.upkeep.step()

    def check(self) -> None:
        """Assert that the copy equals the store."""
        stored = {item_id: item.record for shard in self.store._shards for item_id, item in shard.items.items()}
        entries = {item_id: self.copy.get(item_id) for item_id in stored}
        assert {item_id: entry and to_record(entry) for item_id, entry in entries.items()} == stored
        assert self.copy.item_count == len(stored)
        positions = [self.copy.position(shard) for shard in range(CATALOGUE_SHARDS)]
        assert positions == [shard.position for shard in self.store._shards[:-1]]


@asynccontextmanager
async def worker(store: MemoryCatalogue, file: ColumnFile | None) -> AsyncIterator[Worker]:
    opened = Worker(store, file)
    await opened.copy.add_model("one", ["i1", "i2"])
    await opened.sync.start()
    await opened.sync.close()
    yield opened
    await opened.upkeep.close()
    opened.copy.close()


async def fill(store: MemoryCatalogue, ids: list[str], title: str = "one") -> None:
    await store.write_items([ItemWrite(item_id, to_record(Item(item_id, title))) for item_id in ids])


@pytest.fixture
def file(tmp_path: Path) -> ColumnFile:
    return ColumnFile(tmp_path / "columns")


@pytest.fixture
async def store(file: ColumnFile) -> MemoryCatalogue:
    """A store with items, of which there is a snapshot."""
    store = MemoryCatalogue()
    await fill(store, [f"i{number}" for number in range(COUNT)])
    async with worker(store, file) as first:
        first.check()
        await first.step()
    assert file.describe() is not None
    store.scans = 0
    return store


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_start_reads_the_changes_since_the_snapshot_only(store: MemoryCatalogue, file: ColumnFile) -> None:
    await fill(store, [f"i{number}" for number in range(100)], "two")
    await fill(store, [f"new {number}" for number in range(100)])
    async with worker(store, file) as second:
        second.check()
    assert store.scans == 0


async def test_change_that_a_failover_undid_is_read_again(store: MemoryCatalogue, file: ColumnFile) -> None:
    before = deepcopy(store._shards)
    await fill(store, IDS[:5], "undone")
    async with worker(store, file) as second:
        await second.step()
        second.now += catalogue_upkeep.MAX_AGE_SECONDS
        file.path.unlink()
        await second.step()
    store._shards = before
    await fill(store, IDS[3:6], "reissued")
    async with worker(store, file) as third:
        third.check()
    assert store.scans > 0


async def test_shard_whose_changes_are_trimmed_is_read_again(store: MemoryCatalogue, file: ColumnFile) -> None:
    store._changes_kept = 5
    await fill(store, IDS[:50], "two")
    async with worker(store, file) as second:
        second.check()
    assert 0 < store.scans < 5


async def test_snapshot_of_another_store_is_ignored(store: MemoryCatalogue, file: ColumnFile) -> None:
    other = MemoryCatalogue()
    await fill(other, [f"other {number}" for number in range(COUNT)])
    async with worker(other, file) as second:
        second.check()
        assert second.copy._columns.row_of("i7") == 0
        await second.step()  # the one that replaces it
    other.scans = 0
    async with worker(other, file) as third:
        third.check()
    assert other.scans == 0


@pytest.mark.parametrize("damage", ["content", "description", "missing"])
async def test_unusable_snapshot_is_ignored(store: MemoryCatalogue, file: ColumnFile, damage: str) -> None:
    if damage == "missing":
        file.path.unlink()
    elif damage == "content":
        content = bytearray(file.path.read_bytes())
        content[-1] ^= 1
        file.path.write_bytes(content)
    else:
        described = file.describe()
        assert described is not None
        writer = file.begin()
        assert writer is not None
        writer.finish({**described[0], "rows": 10**9})
        writer.close()
    async with worker(store, file) as second:
        second.check()
    assert store.scans > 0


async def test_snapshot_is_written_again_only_if_it_lacks_much(
    store: MemoryCatalogue, file: ColumnFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written() -> int:
        return file.path.stat().st_ino

    async with worker(store, file) as second:
        first = written()
        await second.step()
        await fill(store, IDS[:20], "two")
        await second.sync.poll()
        await second.step()
        assert written() == first
        monkeypatch.setattr(catalogue_upkeep, "MAX_LAG", 10)
        await second.step()
        assert written() != first
        last = written()
        await fill(store, IDS[:1], "three")
        await second.sync.poll()
        await second.step()
        assert written() == last
        monkeypatch.setattr(catalogue_upkeep, "MAX_AGE_SECONDS", -1.0)
        await second.step()
        assert written() != last


async def test_two_workers_do_not_write_at_the_same_time(store: MemoryCatalogue, file: ColumnFile) -> None:
    file.path.unlink()
    writer = file.begin()
    async with worker(store, file) as second:
        await second.step()
        assert not file.path.exists()
        assert writer is not None
        writer.close()
        await second.step()
        assert file.path.exists()


async def test_small_catalogue_has_no_snapshot(file: ColumnFile) -> None:
    store = MemoryCatalogue()
    await fill(store, [f"i{number}" for number in range(9)])
    async with worker(store, file) as only:
        await only.step()
    assert not file.path.exists()


async def test_folder_that_cannot_be_written_is_an_entry_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryCatalogue()
    await fill(store, [f"i{number}" for number in range(50)])
    async with worker(store, ColumnFile(tmp_path / "missing" / "columns")) as only:
        only.check()
        await only.step()
    assert "cannot write the catalogue's snapshot" in caplog.text


async def test_closing_drops_a_snapshot_that_is_being_written(file: ColumnFile, monkeypatch: Any) -> None:
    store = MemoryCatalogue()
    await fill(store, [f"i{number}" for number in range(50)])
    async with worker(store, file) as only:
        writing = asyncio.Event()
        loop = asyncio.get_running_loop()
        write = only.upkeep._write

        def slow(*arguments: Any) -> None:
            loop.call_soon_threadsafe(writing.set)
            while not only.upkeep._is_closing:
                pass
            write(*arguments)

        monkeypatch.setattr(only.upkeep, "_write", slow)
        only.now += 31
        only.upkeep.start()
        await writing.wait()
        await only.upkeep.close()
    assert [path.name for path in file.path.parent.iterdir()] == ["columns.lock"]


async def test_strings_that_were_replaced_are_dropped_beside_the_requests() -> None:
    store = MemoryCatalogue()
    await fill(store, ["i1"])
    async with worker(store, None) as only:
        column: Any = only.copy._columns.columns[TITLE]
        column.table.intern_many([f"replaced {number}".encode() for number in range(6_000)])
        await only.step()
        column = only.copy._columns.columns[TITLE]
        assert len(column.table) == 1
        only.check()
