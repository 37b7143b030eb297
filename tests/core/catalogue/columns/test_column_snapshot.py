"""A snapshot is written while items change, and read by another worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.columns.column_snapshot import SnapshotCapture, spans_of
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import ShardPosition, StoredItem
from service.core.column_snapshots import StoredColumns
from tests.core.catalogue.driven import ALL, MODEL, Driven, allowed, ids_of, run


def written(capture: SnapshotCapture, changing: Iterator[object] | None = None) -> StoredColumns:
    """Write a snapshot; take a step of `changing` after each array."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, parts in capture.arrays():
        arrays[name] = np.concatenate([np.zeros(0, dtype), *(part.copy() for part in parts)])
        next(changing or iter(()), None)
    finished = capture.finish()
    assert finished is not None
    (name, _, parts), description = finished
    arrays[name] = np.concatenate(list(parts))
    return StoredColumns(json.loads(json.dumps(description)), arrays)


async def restored(stored: StoredColumns) -> Catalogue:
    catalogue = Catalogue(1)
    await catalogue.add_model("one", MODEL)
    assert catalogue.restore(stored) == spans_of(stored.description)
    await catalogue.prepare()
    return catalogue


def item(number: int, text: str) -> Item:
    return Item(f"i{number}", text, (text,), attributes={"price": float(number), text: text, "tags": ("all", text)})


def test_snapshot_answers_as_the_catalogue_did() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", "A", attributes={"price": 1.0}), Item("b", available=False), Item("é", deleted=True))
        catalogue = await restored(written(driven.catalogue.capture()))
        assert not catalogue.is_empty
        catalogue.set_definitions(driven.catalogue._texts.definitions)
        assert catalogue.revision == driven.catalogue.revision
        assert catalogue.item_count == 2
        assert catalogue.get("a") == Item("a", "A", attributes={"price": 1.0})
        assert ids_of(MODEL, await catalogue.allowed("one", None)) == ALL - {"b", "é"} == await allowed(driven)
        assert ids_of(MODEL, await catalogue.allowed("one", FilterRequest("price < 5"))) == {"a"}
        catalogue.close()

    run(test)


@pytest.mark.parametrize("changed_first", [0, 7, 20])
def test_rows_that_change_while_they_are_written_are_right_after_the_changes(changed_first: int) -> None:
    async def test(driven: Driven) -> None:
        driven.put(*(item(number, "before") for number in range(40)))
        before = driven.revision

        def changing() -> Iterator[None]:
            for step in range(100):
                if step >= changed_first:
                    driven.put(item(step % 40, f"at {step}"), item(50 + step, "new"), Item(MODEL[0], f"{step}"))
                yield

        stored = written(driven.catalogue.capture(), changing())
        [span] = spans_of(stored.description)
        assert span == (ShardPosition(before, "t"), ShardPosition(driven.revision, "t"))
        catalogue = await restored(stored)
        assert catalogue.position(0).revision == before
        # What the store returns as changes after `before`: the newest records of all items that changed.
        source = driven.catalogue._columns
        changed = []
        for item_id, entry in driven.entries.items():
            row = source.row_of(item_id)
            if source.revisions.data[row] > before:
                changed.append(StoredItem(item_id, int(source.revisions.data[row]), to_record(entry)))
            else:
                assert catalogue.get(item_id) == entry
        for start in range(0, len(changed), 3):
            catalogue.apply(0, span.last, changed[start : start + 3])
        assert {item_id: catalogue.get(item_id) for item_id in driven.entries} == driven.entries
        assert catalogue.item_count == len(driven.entries)
        catalogue.close()

    run(test)


def test_item_that_a_failover_took_back_is_forgotten_when_its_shard_is_read_again() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("b", "kept"))
        put = iter([driven.put(Item("a", "undone"))])
        capture = driven.catalogue.capture()
        driven.put(Item("i-1", "undone"))
        catalogue = await restored(written(capture, put))
        await catalogue.replace_shard(0, ShardPosition(1, "t"), [StoredItem("b", 1, to_record(Item("b", "kept")))])
        assert [catalogue.get(item_id) for item_id in ("a", "b", "i-1")] == [None, Item("b", "kept"), None]
        assert catalogue.item_count == 1
        catalogue.close()

    run(test)


def test_snapshot_is_given_up_if_too_many_rows_change() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a"))
        capture = driven.catalogue.capture()
        driven.catalogue._items.changes.append([1] * 300_000)
        assert capture.finish() is None

    run(test)


def test_catalogue_in_use_takes_no_snapshot() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a"))
        with pytest.raises(ValueError, match="in use"):
            driven.catalogue.restore(written(driven.catalogue.capture()))

    run(test)


def test_first_models_items_have_their_own_numbers_after_a_restart() -> None:
    async def scenario() -> None:
        catalogue = Catalogue(1)
        await catalogue.add_model("one", MODEL)
        await catalogue.prepare()
        catalogue.apply(0, ShardPosition(1, "t"), [StoredItem("new", 1, to_record(Item("new")))])
        again = await restored(written(catalogue.capture()))
        model: Any = again._models._models["one"]
        assert model._rows is None  # nothing needs to be mapped
        for each in (catalogue, again):
            each.close()

    asyncio.run(scenario())
