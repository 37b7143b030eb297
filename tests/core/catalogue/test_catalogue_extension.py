"""Rows of appended items in the worker's copy of the catalogue."""

from __future__ import annotations

import numpy as np
import pytest

from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from service.core.engine_requests import AllowedRows
from tests.core.catalogue.driven import ALL, MODEL, Driven, allowed, run


def row_ids(rows: AllowedRows | None, known: list[str]) -> set[str]:
    assert rows is not None
    return {item_id for item_id, bit in zip(known, rows.mask(len(known) + 1)[1:].tolist(), strict=True) if bit}


@pytest.mark.parametrize("put_first", [False, True])
def test_appended_items_are_allowed_as_their_entries_say(put_first: bool) -> None:
    async def test(driven: Driven) -> None:
        put = [Item("new-1", attributes={"price": 1.0}), Item("new-2", available=False, attributes={"price": 1.0})]
        if put_first:
            driven.put(*put, Item("a", attributes={"price": 9.0}))
        known = [*MODEL, "new-1", "new-2", "new-3"]
        driven.catalogue.extend_model("one", 1, known[len(MODEL) :][:1])
        driven.catalogue.extend_model("one", 2, known[len(MODEL) :][1:])
        if not put_first:
            driven.put(*put, Item("a", attributes={"price": 9.0}))
        rows = await driven.catalogue.allowed("one", None)
        assert row_ids(rows, known) == {*ALL, "new-1", "new-3"}
        assert rows is not None and rows.full == len(MODEL)
        cheap = FilterRequest("price < 5")
        assert row_ids(await driven.catalogue.allowed("one", cheap), known) == {"new-1"}
        driven.put(Item("new-2", attributes={"price": 2.0}), Item("new-1", deleted=True))
        for request, wanted in ((None, {*ALL, "new-2", "new-3"}), (cheap, {"new-2"})):
            now = driven.catalogue.allowed_now("one", request)
            assert isinstance(now, AllowedRows)
            assert row_ids(now, known) == wanted

    run(test)


def test_cached_bitmaps_follow_appended_items_at_once() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"price": 9.0}))
        assert await driven.catalogue.allowed("one", None) is None  # all of the model, and nothing is appended
        assert await allowed(driven, "price IS NULL") == ALL - {"a"}
        known = [*MODEL]
        for number in range(1, 80):
            item_id = f"new-{number}"
            driven.put(Item(item_id, available=number % 3 > 0))
            for request in (None, FilterRequest("price IS NULL")):  # so that the item's change is not new any more
                driven.catalogue.allowed_now("one", request)
            driven.catalogue.extend_model("one", number, [item_id])
            known.append(item_id)
            shown = {item_id for number, item_id in enumerate(known[len(MODEL) :], start=1) if number % 3}
            every, filtered = (
                driven.catalogue.allowed_now("one", request) for request in (None, FilterRequest("price IS NULL"))
            )
            assert isinstance(every, AllowedRows) and isinstance(filtered, AllowedRows)
            assert row_ids(every, known) == ALL | shown
            assert every.full >= len(MODEL)
            assert all(every.contains(np.arange(1, every.full + 1)))
            assert row_ids(filtered, known) == (ALL | shown) - {"a"}

    run(test)


def test_items_appended_again_after_a_failover_replace_the_lost_ones() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("x", available=False), Item("a"))
        driven.catalogue.extend_model("one", 1, ["kept", "lost", "x"])
        assert row_ids(await driven.catalogue.allowed("one", None), [*MODEL, "kept", "lost", "x"]) == {
            *ALL,
            "kept",
            "lost",
        }
        driven.catalogue.extend_model("one", 2, ["x", "lost"])
        rows = await driven.catalogue.allowed("one", None)
        assert row_ids(rows, [*MODEL, "kept", "x", "lost"]) == {*ALL, "kept", "lost"}
        with pytest.raises(ValueError):
            driven.catalogue.extend_model("one", 5, ["gap"])
        driven.catalogue.remove_model("one")
        driven.catalogue.extend_model("one", 4, ["nobody"])  # a model that is gone

    run(test)
