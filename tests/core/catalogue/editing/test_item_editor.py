"""Putting, patching and deleting items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from service.core.catalogue.editing.item_changes import ItemChange
from service.core.catalogue.editing.item_editor import Edited, EditMode, ItemEdit, ItemEditor
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue.items import Item
from service.core.catalogue.revisions import encode_revision, includes
from service.core.catalogue_store import CATALOGUE_SHARDS, ItemWrite, ShardPosition, Written, catalogue_shard
from service.core.errors import InvalidRequest, ItemConflict, ItemNotFound, ServiceError, StoreUnavailable
from tests.core.memory_catalogue import MemoryCatalogue

pytestmark = pytest.mark.anyio


class RacingCatalogue(MemoryCatalogue):
    """Runs `race` before each write of items."""

    race: Callable[[], object] | None = None
    writes = 0

    async def write_items(self, writes: Sequence[ItemWrite]) -> list[Written | StoreUnavailable]:
        self.writes += 1
        if self.race is not None:
            self.race()
        return await super().write_items(writes)


@pytest.fixture
def store() -> RacingCatalogue:
    return RacingCatalogue()


@pytest.fixture
def editor(store: RacingCatalogue) -> ItemEditor:
    return ItemEditor(store, KnownDefinitions(store, list))


def kinds(edited: Edited) -> list[object]:
    """Whether each item was changed, or the class of the error."""
    return [type(outcome) if isinstance(outcome, ServiceError) else outcome.changed for outcome in edited.outcomes]


async def test_put_replaces_the_whole_item(editor: ItemEditor) -> None:
    first = ItemChange("a", {"title": "Shoe", "available": False}, {"price": 5})
    assert kinds(await editor.put([first])) == [True]
    assert await editor.get("a") == Item("a", "Shoe", available=False, attributes={"price": 5.0})
    assert kinds(await editor.put([ItemChange("a", {}, {"price": 6})])) == [True]
    assert await editor.get("a") == Item("a", attributes={"price": 6.0})
    assert kinds(await editor.put([ItemChange("a", {}, {"price": 6.0})])) == [False]


async def test_patch_merges_and_creates(editor: ItemEditor) -> None:
    assert kinds(await editor.patch([ItemChange("a", {"available": False})])) == [True]
    assert kinds(await editor.patch([ItemChange("a", {}, {"price": 5})])) == [True]
    assert await editor.get("a") == Item("a", available=False, attributes={"price": 5.0})
    assert kinds(await editor.patch([ItemChange("a", {"available": False})])) == [False]


async def test_deleted_item_is_found_by_nobody_until_it_is_put(editor: ItemEditor) -> None:
    await editor.put([ItemChange("a", {"title": "Shoe"})])
    assert kinds(await editor.delete("a")) == [True]
    assert kinds(await editor.delete("a")) == [False]
    assert kinds(await editor.delete("never put")) == [True]  # the model may know it
    with pytest.raises(ItemNotFound, match="deleted"):
        await editor.get("a")
    assert kinds(await editor.patch([ItemChange("a", {"available": True})])) == [ItemNotFound]
    assert kinds(await editor.put([ItemChange("a")])) == [True]
    assert await editor.get("a") == Item("a")


async def test_unknown_item_is_not_found(editor: ItemEditor) -> None:
    with pytest.raises(ItemNotFound, match="no such item"):
        await editor.get("a")


async def test_first_use_declares_for_all_workers(store: RacingCatalogue, editor: ItemEditor) -> None:
    other = ItemEditor(store, KnownDefinitions(store, list))
    await editor.put([ItemChange("a", {"vector": [1, 2]}, {"price": 5, "tags": ["x"]})])
    edited = await other.put([ItemChange("b", {}, {"price": "cheap"}), ItemChange("c", {"vector": [1]})])
    assert kinds(edited) == [InvalidRequest, InvalidRequest]
    assert kinds(await other.put([ItemChange("b", {}, {"price": 7})])) == [True]


async def test_two_workers_that_declare_at_once_agree(store: RacingCatalogue, editor: ItemEditor) -> None:
    class Late(KnownDefinitions):
        async def declare(self, wanted: object) -> None:
            await editor.put([ItemChange("a", {}, {"price": 5})])
            await super().declare(wanted)  # type: ignore[arg-type]

    other = ItemEditor(store, Late(store, list))
    edited = await other.put([ItemChange("b", {}, {"price": "cheap"}), ItemChange("c", {}, {"price": 1})])
    assert kinds(edited) == [InvalidRequest, True]
    assert (await store.definitions()).attributes == {"price": "number"}


async def test_refused_item_declares_nothing_and_stops_no_other(store: RacingCatalogue, editor: ItemEditor) -> None:
    changes = [
        ItemChange("a", {"title": "x" * 2000}, {"size": 1}),
        ItemChange("b", {}, {"price": 1}),
        ItemChange("c", {}, {"price": "cheap"}),
    ]
    assert kinds(await editor.put(changes)) == [InvalidRequest, True, InvalidRequest]
    assert (await store.definitions()).attributes == {"price": "number"}


async def test_changes_of_one_item_in_a_batch_are_merged_in_order(store: RacingCatalogue, editor: ItemEditor) -> None:
    changes = [ItemChange("a", {}, {f"n{n % 3}": n}) for n in range(100)]
    assert kinds(await editor.patch(changes)) == [True] * 100
    assert (await editor.get("a")).attributes == {"n0": 99.0, "n1": 97.0, "n2": 98.0}
    await editor.put([ItemChange("a", {"title": "1"}), ItemChange("a", {}, {"n0": 1})])
    assert await editor.get("a") == Item("a", attributes={"n0": 1.0})


async def test_patch_meets_changes_by_others(store: RacingCatalogue, editor: ItemEditor) -> None:
    others = iter([Item("a", "one"), Item("a", "two")])

    def race() -> None:
        if (other := next(others, None)) is not None:
            from service.core.catalogue.items import to_record

            store._write(ItemWrite("a", to_record(other)))

    store.race = race
    assert kinds(await editor.patch([ItemChange("a", {"available": False}), ItemChange("b")])) == [True, True]
    assert await editor.get("a") == Item("a", "two", available=False)


async def test_patch_that_meets_a_change_each_time_is_a_conflict(store: RacingCatalogue, editor: ItemEditor) -> None:
    numbers = iter(range(1000))
    store.race = lambda: store._write(
        ItemWrite(
            "a",
            b'{"format":1,"title":"%d","categories":[],"available":true,'
            b'"attributes":{},"vector":null,"deleted":false}' % next(numbers),
        )
    )
    assert kinds(await editor.patch([ItemChange("a", {"available": False}), ItemChange("b")])) == [ItemConflict, True]
    assert store.writes == 8


async def test_items_of_a_shard_that_is_away_fail_alone(store: RacingCatalogue, editor: ItemEditor) -> None:
    store.down = {catalogue_shard("a")}
    ids = [
        item_id for item_id in ("a", "b", "c", "d") if item_id == "a" or catalogue_shard(item_id) not in store.down
    ]
    assert kinds(await editor.put([ItemChange(item_id) for item_id in ids])) == [StoreUnavailable, True, True, True]


async def test_revision_is_the_one_from_which_a_copy_has_all_changes(
    store: RacingCatalogue, editor: ItemEditor
) -> None:
    async def copy() -> str:
        return encode_revision(await store.positions())  # type: ignore[arg-type]

    before = await copy()
    edited = await editor.put([ItemChange(f"i{n}", {}, {"price": n}) for n in range(40)])
    assert includes(await copy(), edited.revision)
    assert not includes(before, edited.revision)
    unchanged = await editor.put([ItemChange("i1", {}, {"price": 1})])
    assert includes(await copy(), unchanged.revision) and not includes(before, unchanged.revision)
    assert len(await store.positions()) == CATALOGUE_SHARDS + 1


async def test_mixed_changes_of_one_item_are_one_write_in_their_order(
    store: RacingCatalogue, editor: ItemEditor
) -> None:
    await editor.put([ItemChange("b", {"title": "B"})])
    store.writes = 0
    edits = [
        ItemEdit(ItemChange("a", {"title": "Shoe"}, {"price": 5}), EditMode.PUT),
        ItemEdit(ItemChange("b"), EditMode.DELETE),
        ItemEdit(ItemChange("a", {"available": False}), EditMode.PATCH),
        ItemEdit(ItemChange("b", {"available": False}), EditMode.PATCH),
        ItemEdit(ItemChange("c", {"title": "C"}), EditMode.PATCH),
        ItemEdit(ItemChange("c"), EditMode.DELETE),
        ItemEdit(ItemChange("c", {"title": "New"}), EditMode.PUT),
    ]
    assert kinds(await editor.apply(edits)) == [True, True, True, ItemNotFound, True, True, True]
    assert store.writes == 1
    assert await editor.get("a") == Item("a", "Shoe", available=False, attributes={"price": 5.0})
    assert await editor.get("c") == Item("c", "New")
    with pytest.raises(ItemNotFound):
        await editor.get("b")
    again = kinds(await editor.apply(edits))
    assert again == [False, False, False, ItemNotFound, False, False, False]


async def test_repeated_batch_that_deletes_an_item_refuses_nothing(editor: ItemEditor) -> None:
    await editor.put([ItemChange("a", {"title": "Shoe"})])
    edits = [
        ItemEdit(ItemChange("a", {"available": False}), EditMode.PATCH),
        ItemEdit(ItemChange("a"), EditMode.DELETE),
    ]
    assert kinds(await editor.apply(edits)) == [True, True]
    assert kinds(await editor.apply(edits)) == [False, False]
    assert kinds(await editor.apply(edits[:1])) == [ItemNotFound]


async def test_copy_gets_the_positions_of_own_changes_but_not_those_of_a_stream(store: RacingCatalogue) -> None:
    included: list[Mapping[int, ShardPosition]] = []

    async def include(written: Mapping[int, ShardPosition]) -> None:
        included.append(written)

    editor = ItemEditor(store, KnownDefinitions(store, list), include)
    await editor.put([ItemChange("a"), ItemChange("b"), ItemChange("c", {"title": "x" * 2000})])
    shards = {catalogue_shard("a"), catalogue_shard("b")}
    assert included == [{shard: store._shards[shard].position for shard in shards}]
    await editor.delete("a")
    assert included[1:] == [{catalogue_shard("a"): store._shards[catalogue_shard("a")].position}]
    await editor.apply([ItemEdit(ItemChange("a"), EditMode.PUT)])
    assert len(included) == 2
