"""A worker's copy of the catalogue, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue_store import CATALOGUE_SHARDS, ItemWrite, ShardPosition, StoredItem, catalogue_shard
from service.core.jobs.catalogue_sync import CatalogueSync
from tests.core.memory_catalogue import MemoryCatalogue

START = ShardPosition(0, "")
IDS = [item_id for item_id in (f"i{n}" for n in range(20_000)) if catalogue_shard(item_id) == 3]


class Copy:
    """Items by id, as `Catalogue` keeps them."""

    def __init__(self) -> None:
        self.items: dict[str, StoredItem] = {}
        self.positions = [START] * CATALOGUE_SHARDS

    @property
    def item_count(self) -> int:
        return len(self.items)

    def position(self, shard: int) -> ShardPosition:
        return self.positions[shard]

    def apply(
        self, shard: int, position: ShardPosition, items: Sequence[StoredItem], *, is_newest: bool = True
    ) -> None:
        for item in items:
            if item.revision > self.items.get(item.item_id, StoredItem("", 0, b"")).revision:
                self.items[item.item_id] = item
        if position.revision >= self.positions[shard].revision:
            self.positions[shard] = position

    async def prepare(self) -> None:
        pass

    async def replace_shard(self, shard: int, position: ShardPosition, items: Sequence[StoredItem]) -> None:
        self.items = {item_id: item for item_id, item in self.items.items() if catalogue_shard(item_id) != shard}
        self.positions[shard] = START
        self.apply(shard, position, items)


class Meter:
    def __init__(self) -> None:
        self.applied = self.rereads = self.items = 0
        self.states: list[tuple[float, int]] = []

    def changes_applied(self, count: int) -> None:
        self.applied += count

    def shard_read_again(self) -> None:
        self.rereads += 1

    def catalogue_state(self, age_seconds: float, lag: int) -> None:
        self.states.append((age_seconds, lag))

    def catalogue_items(self, count: int) -> None:
        self.items = count


class Worker:
    def __init__(self, store: MemoryCatalogue) -> None:
        self.copy, self.meter, self.now = Copy(), Meter(), 100.0
        self.definitions = KnownDefinitions(store, list)
        self.sync = CatalogueSync(
            store, self.copy, self.definitions, self.meter, poll_seconds=0.001, clock=lambda: self.now
        )

    async def until_current(self, store: MemoryCatalogue) -> None:
        """Wait until the copy is equal to the store."""
        async with asyncio.timeout(20):
            while not self.is_current(store):  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    def is_current(self, store: MemoryCatalogue) -> bool:
        stored = {item_id: item for shard in store._shards for item_id, item in shard.items.items()}
        return self.copy.items == stored and self.copy.positions == [each.position for each in store._shards[:-1]]


async def fill(store: MemoryCatalogue, ids: Sequence[str], record: bytes = b"one") -> None:
    await store.write_items([ItemWrite(item_id, record) for item_id in ids])
