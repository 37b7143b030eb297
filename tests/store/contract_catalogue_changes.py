"""Contract of every catalogue store: following the changes of a shard."""

from __future__ import annotations

from service.core.catalogue_store import (
    CATALOGUE_SHARDS,
    CatalogueStore,
    ItemWrite,
    ShardPage,
    ShardPosition,
    StoredItem,
    catalogue_shard,
)
from tests.store.contract_catalogue import write

START = ShardPosition(0, "")
ONE = b"one" * 30  # Redis returns a hash of small values as one page
SHARD = 3
IDS = [item_id for item_id in (f"i{n}" for n in range(16_000)) if catalogue_shard(item_id) == SHARD]


async def fill(catalogue: CatalogueStore, ids: list[str], record: bytes = ONE) -> ShardPosition:
    """Write the items; return the shard's position."""
    await catalogue.write_items([ItemWrite(item_id, record) for item_id in ids])
    position = (await catalogue.positions())[SHARD]
    assert isinstance(position, ShardPosition)
    return position


async def follow(
    catalogue: CatalogueStore, after: ShardPosition, limit: int
) -> tuple[ShardPosition, list[StoredItem]]:
    """Read all changes after the position."""
    items: list[StoredItem] = []
    while True:
        found = await catalogue.changes(SHARD, after, limit)
        assert found is not None
        assert all(item.revision <= found.position.revision for item in found.items)
        items += found.items
        after = found.position
        if not found.more:
            return after, items


class CatalogueChangesContract:
    async def test_changes_of_an_empty_shard_are_none(self, catalogue: CatalogueStore) -> None:
        assert await catalogue.changes(SHARD, START, 10) == (START, (), False)

    async def test_changes_are_returned_from_any_position(self, catalogue: CatalogueStore) -> None:
        middle = await fill(catalogue, IDS[:30])
        newest = await fill(catalogue, IDS[30:50])
        for limit in (1, 7, 1000):
            position, items = await follow(catalogue, START, limit)
            assert position == newest
            assert items == [StoredItem(item_id, n, ONE) for n, item_id in enumerate(IDS[:50], start=1)]
        position, items = await follow(catalogue, middle, 7)
        assert (position, [item.item_id for item in items]) == (newest, IDS[30:50])
        assert await catalogue.changes(SHARD, newest, 10) == (newest, (), False)

    async def test_item_that_changed_again_is_returned_once_with_its_newest_record(
        self, catalogue: CatalogueStore
    ) -> None:
        await fill(catalogue, IDS[:5])
        await write(catalogue, IDS[1], b"two")
        await write(catalogue, IDS[1], b"three")
        for limit in (1, 2, 1000):
            _, items = await follow(catalogue, START, limit)
            assert sorted(item.item_id for item in items) == sorted(IDS[:5])
            assert items[-1] == StoredItem(IDS[1], 7, b"three")

    async def test_changes_of_other_shards_are_not_returned(self, catalogue: CatalogueStore) -> None:
        await catalogue.write_items([ItemWrite(f"i{n}", b"one") for n in range(100)])
        _, items = await follow(catalogue, START, 1000)
        assert {catalogue_shard(item.item_id) for item in items} == {SHARD}

    async def test_position_that_the_shard_does_not_know_is_refused(self, catalogue: CatalogueStore) -> None:
        newest = await fill(catalogue, IDS[:3])
        assert await catalogue.changes(SHARD, ShardPosition(newest.revision, "another"), 10) is None
        assert await catalogue.changes(SHARD, ShardPosition(newest.revision + 1, newest.token), 10) is None
        assert await catalogue.changes(SHARD, newest, 10) == (newest, (), False)

    async def test_position_before_the_kept_changes_is_refused(self, catalogue: CatalogueStore) -> None:
        catalogue._changes_kept = 150  # type: ignore[attr-defined]
        old = await fill(catalogue, IDS[:10])
        newest = await fill(catalogue, IDS[10:600])
        assert await catalogue.changes(SHARD, START, 10) is None
        assert await catalogue.changes(SHARD, old, 10) is None
        assert await catalogue.changes(SHARD, newest, 10) == (newest, (), False)
        assert len(await scan_all(catalogue, 1000)) == 600

    async def test_position_of_a_kept_change_is_found_by_its_number(self, catalogue: CatalogueStore) -> None:
        first = await fill(catalogue, IDS[:1])
        newest = await fill(catalogue, IDS[1:3])
        assert await catalogue.position_at(SHARD, 1) == first
        assert await catalogue.position_at(SHARD, 3) == newest
        assert await catalogue.position_at(SHARD, 4) is None
        assert await catalogue.position_at(SHARD + 1, 1) is None
        await catalogue.set_filter("cheap", None, "price < 5")
        assert await catalogue.position_at(CATALOGUE_SHARDS, 1) == (await catalogue.definitions()).position

    async def test_scan_returns_every_item_of_the_shard(self, catalogue: CatalogueStore) -> None:
        ids = IDS[:500]
        newest = await fill(catalogue, [*ids, "of another shard"])
        assert len({catalogue_shard(item_id) for item_id in ("of another shard", ids[0])}) == 2
        for limit in (1, 100, 1000):
            found = await scan_all(catalogue, limit)
            assert found == {item_id: StoredItem(item_id, n, ONE) for n, item_id in enumerate(ids, start=1)}
        page = await catalogue.scan(SHARD, "", 10)
        assert page is not None and page.cursor
        assert page.position == newest

    async def test_scan_of_an_empty_shard_is_one_empty_page(self, catalogue: CatalogueStore) -> None:
        assert await catalogue.scan(SHARD, "", 10) == ShardPage((), "", START)

    async def test_scan_with_the_changes_after_it_misses_no_write(self, catalogue: CatalogueStore) -> None:
        await fill(catalogue, IDS[:300])
        first = page = await catalogue.scan(SHARD, "", 50)
        assert first is not None
        copy = {item.item_id: item for item in first.items}
        for n, item_id in enumerate(IDS[290:330]):  # changed and new ones
            await write(catalogue, item_id, b"two")
            if page is not None and page.cursor and n % 4 == 0:
                page = await catalogue.scan(SHARD, page.cursor, 50)
                assert page is not None
                copy |= {item.item_id: item for item in page.items}
        while page is not None and page.cursor:
            page = await catalogue.scan(SHARD, page.cursor, 50)
            assert page is not None
            copy |= {item.item_id: item for item in page.items}
        _, changed = await follow(catalogue, first.position, 7)
        copy |= {item.item_id: item for item in changed}
        stored = await catalogue.read_items(IDS[:330])
        assert copy == {item.item_id: item for item in stored if item is not None}
        assert page is not None and await catalogue.changes(SHARD, page.position, 1) is not None


async def scan_all(catalogue: CatalogueStore, limit: int) -> dict[str, StoredItem]:
    found: dict[str, StoredItem] = {}
    cursor = ""
    while True:
        page = await catalogue.scan(SHARD, cursor, limit)
        assert page is not None
        found |= {item.item_id: item for item in page.items}
        cursor = page.cursor
        if not cursor:
            return found
