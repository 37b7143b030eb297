from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.filter_bitmaps.model_rows import ModelRows, map_model, map_model_now, patched

masks = st.lists(st.booleans(), min_size=1, max_size=100)


def model_of(trained: int, appended: int) -> ModelRows:
    columns = ItemColumns(listed_only=False)
    model = map_model_now([f"i-{index}" for index in range(trained)], columns)
    columns.add_rows(["put in between"] * (appended > 1))
    model.append(columns.add_rows([f"new-{index}" for index in range(appended)]).tolist())
    return model


def passes_of(mask: list[bool], trained: int) -> NDArray[np.bool_]:
    """Return what passes by row of the columns."""
    between = [True] * (len(mask) - trained > 1)
    return np.array([True, *mask[:trained], *between, *mask[trained:]])


def expected_full(mask: list[bool], trained: int) -> int:
    if all(mask):
        return len(mask)
    return trained if len(mask) > trained and all(mask[:trained]) else 0


@settings(max_examples=200, deadline=None)
@given(masks, st.data())
def test_patched_bits_equal_those_made_anew(mask: list[bool], data: st.DataObject) -> None:
    trained = data.draw(st.integers(1, len(mask)))
    if data.draw(st.booleans()):
        mask[:trained] = [True] * trained
    model = model_of(trained, len(mask) - trained)
    before = model.allowed(passes_of(mask, trained))
    rows = data.draw(st.lists(st.integers(1, len(mask)), unique=True))
    for row in rows:
        mask[row - 1] = data.draw(st.booleans())
    passes = np.array([mask[row - 1] for row in rows], np.bool_)
    after = patched(before, np.array(rows, np.int64), passes, model)
    made_anew = model.allowed(passes_of(mask, trained))
    assert np.array_equal(after.bitmap, made_anew.bitmap)
    assert after.count == made_anew.count == sum(mask)
    assert after.full == made_anew.full == expected_full(mask, trained)
    assert after.lineage is before.lineage is not made_anew.lineage
    assert before.bitmap.dtype == np.uint32
    assert len(before.bitmap) == (len(mask) + 1 + 31) // 32


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 70), st.integers(0, 70), st.data())
def test_bitmap_from_before_an_append_grows_with_the_rows_that_pass(
    trained: int, appended: int, data: st.DataObject
) -> None:
    model, mask = model_of(trained, 0), data.draw(st.lists(st.booleans(), min_size=trained, max_size=trained))
    before = model.allowed(np.array([True, *mask]))
    more = data.draw(st.lists(st.booleans(), min_size=appended, max_size=appended))
    model.append(list(range(trained + 1, trained + 1 + appended)))
    rows, model_rows = model.select(np.arange(trained + 1, trained + 5 + appended))
    assert rows.tolist() == model_rows.tolist() == list(range(trained + 1, trained + 1 + appended))
    after = patched(before, model_rows, np.array(more, np.bool_), model)
    size = trained + appended + 1
    assert after.mask(size).tolist() == [False, *mask, *more]
    assert after.contains(np.arange(size)).tolist() == [False, *mask, *more]
    if any(more):
        assert after.full == expected_full([*mask, *more], trained)
    else:
        assert after is before
    assert model.truncate().count == trained


def test_item_that_appears_while_a_model_is_mapped_gets_one_row() -> None:
    columns = ItemColumns(listed_only=False)

    async def in_thread(work: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
        found = work()
        columns.add_row("i-2")  # put in the meantime
        return found

    asyncio.run(map_model(["i-1", "i-2", "i-3"], columns, in_thread))
    assert columns.row_count == 4
    assert [columns.row_of(item_id) for item_id in ("i-2", "i-1", "i-3")] == [1, 2, 3]
