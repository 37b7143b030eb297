from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.filter_bitmaps.model_rows import map_model, map_model_now, patched
from service.core.engine_requests import AllowedRows

masks = st.lists(st.booleans(), min_size=1, max_size=100)


def allowed_of(mask: list[bool]) -> AllowedRows:
    columns = ItemColumns(listed_only=False)
    model = map_model_now([f"i-{index}" for index in range(len(mask))], columns)
    return model.allowed(np.array([True, *mask]))


@settings(max_examples=100, deadline=None)
@given(masks, st.data())
def test_patched_bits_equal_those_made_anew(mask: list[bool], data: st.DataObject) -> None:
    before = allowed_of(mask)
    rows = data.draw(st.lists(st.integers(1, len(mask)), unique=True))
    for row in rows:
        mask[row - 1] = data.draw(st.booleans())
    after = patched(before, np.array(rows, np.int64), np.array([mask[row - 1] for row in rows], np.bool_))
    made_anew = allowed_of(mask)
    assert np.array_equal(after.bitmap, made_anew.bitmap)
    assert after.count == made_anew.count == sum(mask)
    assert after.lineage is before.lineage is not made_anew.lineage
    assert before.bitmap.dtype == np.uint32
    assert len(before.bitmap) == (len(mask) + 1 + 31) // 32


def test_item_that_appears_while_a_model_is_mapped_gets_one_row() -> None:
    columns = ItemColumns(listed_only=False)

    async def in_thread(work: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
        found = work()
        columns.add_row("i-2")  # put in the meantime
        return found

    asyncio.run(map_model(["i-1", "i-2", "i-3"], columns, in_thread))
    assert columns.row_count == 4
    assert [columns.row_of(item_id) for item_id in ("i-2", "i-1", "i-3")] == [1, 2, 3]
