"""Contract of every catalogue store: items and definitions."""

from __future__ import annotations

import asyncio

from service.core.catalogue_store import (
    CATALOGUE_SHARDS,
    MAX_ATTRIBUTES,
    MAX_FILTERS,
    CatalogueStore,
    ItemWrite,
    ShardPosition,
    StoredItem,
    Written,
    catalogue_shard,
)
from service.core.errors import StoreUnavailable
from service.store.factory import OpenedStore
from tests.store.backends import Backend

ODD_IDS = ("", "a", "a:b", "{c3}:items", "Zoë ✓", "1" * 256, "\u2028", "'; DROP TABLE catalogue_items; --")


async def write(catalogue: CatalogueStore, item_id: str, record: bytes, expected: int | None = None) -> Written:
    [written] = await catalogue.write_items([ItemWrite(item_id, record, expected)])
    if isinstance(written, StoreUnavailable):
        raise written
    return written


async def revisions(catalogue: CatalogueStore) -> list[int]:
    return [position.revision for position in await catalogue.positions()]  # type: ignore[union-attr]


class CatalogueContract:
    async def test_empty_catalogue_has_no_items_and_no_revisions(self, catalogue: CatalogueStore) -> None:
        assert await catalogue.read_items(["a", "b"]) == [None, None]
        assert await catalogue.positions() == [ShardPosition(0, "")] * (CATALOGUE_SHARDS + 1)
        assert await catalogue.definitions() == (ShardPosition(0, ""), {}, {})
        assert await catalogue.write_items([]) == []
        assert await catalogue.read_items([]) == []

    async def test_items_are_read_as_written(self, catalogue: CatalogueStore) -> None:
        records = {item_id: bytes(range(256)) * n for n, item_id in enumerate(ODD_IDS)}
        written = await catalogue.write_items([ItemWrite(*each) for each in records.items()])
        found = await catalogue.read_items([*ODD_IDS, "unknown"])
        assert found[-1] is None
        assert found[:-1] == [
            StoredItem(item_id, outcome.revision, records[item_id])
            for item_id, outcome in zip(ODD_IDS, written, strict=True)
        ]

    async def test_revisions_of_a_shard_are_consecutive(self, catalogue: CatalogueStore) -> None:
        ids = [f"item {n}" for n in range(100)]
        counts = [0] * CATALOGUE_SHARDS
        for outcome, item_id in zip(
            await catalogue.write_items([ItemWrite(item_id, b"x") for item_id in ids]), ids, strict=True
        ):
            counts[catalogue_shard(item_id)] += 1
            assert isinstance(outcome, Written)
            assert outcome[:3] == (counts[catalogue_shard(item_id)], True, False)
        assert await revisions(catalogue) == [*counts, 0]

    async def test_unchanged_record_gets_no_new_revision(self, catalogue: CatalogueStore) -> None:
        assert (await write(catalogue, "a", b"one"))[:3] == (1, True, False)
        before = await catalogue.positions()
        assert (await write(catalogue, "a", b"one"))[:3] == (1, False, False)
        assert (await write(catalogue, "a", b"one", expected=1))[:3] == (1, False, False)
        assert await catalogue.positions() == before
        assert (await write(catalogue, "a", b"two"))[:3] == (2, True, False)

    async def test_write_with_another_expected_revision_is_a_conflict(self, catalogue: CatalogueStore) -> None:
        assert (await write(catalogue, "a", b"one", expected=1))[:3] == (0, False, True)
        assert (await write(catalogue, "a", b"one", expected=0))[:3] == (1, True, False)
        assert (await write(catalogue, "a", b"two", expected=0))[:3] == (1, False, True)
        assert (await write(catalogue, "a", b"two", expected=1))[:3] == (2, True, False)
        assert (await write(catalogue, "a", b"two", expected=1))[:3] == (2, False, True)
        assert await catalogue.read_items(["a"]) == [StoredItem("a", 2, b"two")]

    async def test_writes_of_one_item_take_effect_in_order(self, catalogue: CatalogueStore) -> None:
        writes = [ItemWrite("a", b"%d" % n) for n in range(700)]
        outcomes = await catalogue.write_items([*writes, ItemWrite("a", b"last", expected=3)])
        expected = [*((n, True, False) for n in range(1, 701)), (700, False, True)]
        assert [outcome[:3] for outcome in outcomes] == expected  # type: ignore[index]
        assert await catalogue.read_items(["a"]) == [StoredItem("a", 700, b"699")]

    async def test_outcome_has_the_position_at_which_the_item_is_stored(self, catalogue: CatalogueStore) -> None:
        shard = catalogue_shard("a")
        changed = await write(catalogue, "a", b"one")
        assert changed.position == (await catalogue.positions())[shard]
        ids = [item_id for item_id in (f"i{n}" for n in range(100)) if catalogue_shard(item_id) == shard][:3]
        written = await catalogue.write_items([ItemWrite(item_id, b"x") for item_id in ids])
        newest = (await catalogue.positions())[shard]
        assert [outcome.position.revision for outcome in written] == [2, 3, 4]  # type: ignore[union-attr]
        assert written[-1].position == newest  # type: ignore[union-attr]
        assert (await write(catalogue, "a", b"one")).position == newest
        assert (await write(catalogue, "a", b"two", expected=7)).position == newest

    async def test_batch_of_large_records_is_written(self, catalogue: CatalogueStore) -> None:
        records = {f"item {n}": bytes([n]) * 16_384 for n in range(256)}
        outcomes = await catalogue.write_items([ItemWrite(*each) for each in records.items()])
        assert all(isinstance(outcome, Written) and outcome.changed for outcome in outcomes)
        found = await catalogue.read_items([*records])
        assert [item.record for item in found if item is not None] == [*records.values()]

    async def test_items_are_shared_with_other_processes(self, store: OpenedStore, backend: Backend) -> None:
        other = await backend.open()
        await write(store.catalogue, "a", b"one")
        assert (await write(other.catalogue, "a", b"two"))[:3] == (2, True, False)
        assert await store.catalogue.read_items(["a"]) == [StoredItem("a", 2, b"two")]
        assert await store.catalogue.positions() == await other.catalogue.positions()
        await other.close()

    async def test_definition_is_replaced_only_if_it_has_the_expected_text(self, catalogue: CatalogueStore) -> None:
        assert await catalogue.set_attribute("price", None, "number")
        assert not await catalogue.set_attribute("price", None, "string")
        assert not await catalogue.set_attribute("price", "bool", "string")
        assert await catalogue.set_attribute("price", "number", "zwei, drei ✓")
        assert await catalogue.set_filter("price", None, "price < 5")
        position, attributes, filters = await catalogue.definitions()
        assert (position.revision, attributes, filters) == (3, {"price": "zwei, drei ✓"}, {"price": "price < 5"})
        assert not await catalogue.set_attribute("price", "number", None)
        assert await catalogue.set_attribute("price", "zwei, drei ✓", None)
        assert (await catalogue.definitions())[1:] == ({}, {"price": "price < 5"})
        assert await revisions(catalogue) == [0] * CATALOGUE_SHARDS + [4]

    async def test_repeated_definition_changes_nothing(self, catalogue: CatalogueStore) -> None:
        assert await catalogue.set_filter("cheap", "any", None)
        assert (await catalogue.definitions()).position.revision == 0
        for expected in (None, "other", "a"):
            assert await catalogue.set_filter("cheap", expected, "a")
        assert (await catalogue.definitions()).position.revision == 1
        assert (await catalogue.definitions()).position == (await catalogue.positions())[-1]

    async def test_workers_that_declare_at_the_same_time_keep_the_limit(
        self, store: OpenedStore, backend: Backend
    ) -> None:
        other = await backend.open()
        await store.catalogue.set_attribute("$vector", None, "float32:2")
        await store.catalogue.set_filter("cheap", None, "a0 < 5")
        workers = [store.catalogue, other.catalogue]
        for number in range(MAX_ATTRIBUTES - 3):
            assert await workers[number % 2].set_attribute(f"a{number}", None, "number")
        declared = await asyncio.gather(
            *(worker.set_attribute(f"b{number}", None, "bool") for number in range(5) for worker in workers)
        )
        attributes = (await other.catalogue.definitions()).attributes
        assert sorted(declared) == [False] * 4 + [True] * 6  # each by both workers
        assert len(attributes) == MAX_ATTRIBUTES + 1
        assert await store.catalogue.set_attribute("a0", "number", "bool")
        assert await store.catalogue.set_attribute("$other", None, "text")
        assert await store.catalogue.set_attribute("a0", "bool", None)
        assert await store.catalogue.set_attribute("c", None, "bool")
        assert await store.catalogue.set_filter("dear", None, "a1 > 5")
        await other.close()

    async def test_number_of_filters_is_limited(self, catalogue: CatalogueStore) -> None:
        named = [await catalogue.set_filter(f"f{number}", None, "a < 5") for number in range(MAX_FILTERS + 1)]
        assert named == [True] * MAX_FILTERS + [False]

    async def test_catalogue_is_apart_from_users_and_records(self, store: OpenedStore) -> None:
        await write(store.catalogue, "user", b"one")
        await store.catalogue.set_attribute("user", None, "number")
        assert await store.users("", 10) == ([], "")
        assert await store.records() == {}
