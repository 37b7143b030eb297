"""A shard is read right, whatever fails over meanwhile."""

from __future__ import annotations

from copy import deepcopy

import pytest

from service.core.catalogue_store import ShardChanges, ShardPage, ShardPosition, StoredItem
from tests.core.jobs.catalogue_worker import IDS, Worker, fill
from tests.core.memory_catalogue import MemoryCatalogue

pytestmark = pytest.mark.anyio


class FailingOver(MemoryCatalogue):
    """Fails over to a replica at one call of `scan` or `changes`."""

    def __init__(self, fail_at: int) -> None:
        super().__init__()
        self.calls_left = fail_at
        self.replica = deepcopy(self._shards)
        self.server = 0

    def _count(self) -> None:
        self.calls_left -= 1
        if self.calls_left == 0:
            self._shards = self.replica
            self.server += 1
            self._shards[3].change(IDS[400], 10**6)
            self._shards[3].items[IDS[400]] = StoredItem(IDS[400], self._shards[3].position.revision, b"new")

    async def scan(self, shard: int, cursor: str, limit: int) -> ShardPage | None:
        self._count()
        server, _, within = cursor.partition("/")
        if cursor and server != str(self.server):
            return None
        page = await super().scan(shard, within, min(limit, 40))
        assert page is not None
        return page._replace(cursor=f"{self.server}/{page.cursor}" if page.cursor else "")

    async def changes(self, shard: int, after: ShardPosition, limit: int) -> ShardChanges | None:
        self._count()
        return await super().changes(shard, after, limit)


@pytest.mark.parametrize("fail_at", range(1, 48))
async def test_failover_at_any_call_of_the_start_leaves_the_right_copy(fail_at: int) -> None:
    store = FailingOver(fail_at)
    await fill(store, IDS[:200])
    store.replica = deepcopy(store._shards)
    await fill(store, IDS[150:250], b"undone")
    worker = Worker(store)
    await worker.sync.start()
    await worker.until_current(store)
    await worker.sync.close()


class UndoneDuringScan(MemoryCatalogue):
    """Takes writes during a scan, and loses them right after it."""

    def __init__(self) -> None:
        super().__init__()
        self.replica: list[object] | None = None

    async def scan(self, shard: int, cursor: str, limit: int) -> ShardPage | None:
        page = await super().scan(shard, cursor, 40)
        assert page is not None
        if shard == 3 and not cursor and self.replica is None:
            self.replica = deepcopy(self._shards)  # type: ignore[arg-type]
            await fill(self, IDS[:200], b"undone")
        elif shard == 3 and not page.cursor and self.replica:
            self._shards, self.replica = self.replica, []  # type: ignore[assignment]
        return page


async def test_change_that_was_scanned_and_undone_before_the_changes_are_read_is_not_kept() -> None:
    store = UndoneDuringScan()
    await fill(store, IDS[:200])
    worker = Worker(store)
    await worker.sync.start()
    assert worker.is_current(store)
    await worker.sync.close()
