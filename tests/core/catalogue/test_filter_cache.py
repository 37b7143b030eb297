"""Compilation beside changes, and the bounds of the cache."""

from __future__ import annotations

import asyncio
import random

import pytest

from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.filter_bitmaps.filter_bitmap import MAX_ROWS_AT_ONCE
from service.core.catalogue.filter_cache import NOT_CACHED
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from service.core.errors import InvalidRequest, Overloaded
from tests.core.catalogue.driven import Driven, ids_of

COUNT = 6000
MODEL = [f"i-{index}" for index in range(COUNT)]


def item(item_id: str, rng: random.Random) -> Item:
    attributes = {"price": float(rng.randrange(10)), "brand": f"b{rng.randrange(3000)}"}
    return Item(item_id, f"title {rng.randrange(10**6)}", available=rng.random() < 0.9, attributes=attributes)


def expected(driven: Driven, price: float, brand: str) -> set[str]:
    found = set()
    for item_id, entry in driven.entries.items():
        values = entry.attributes
        if entry.available and values["price"] < price and (values["brand"] > brand):  # type: ignore[operator]
            found.add(item_id)
    return found


async def filled(**options: int) -> Driven:
    driven = Driven(**options)
    await driven.catalogue.add_model("one", MODEL)
    rng = random.Random(0)
    driven.put(*(item(item_id, rng) for item_id in MODEL))
    return driven


@pytest.mark.parametrize("at_once", [1, MAX_ROWS_AT_ONCE, MAX_ROWS_AT_ONCE + 1, COUNT // 4])
def test_filter_is_exact_at_the_return_however_many_rows_change_meanwhile(at_once: int) -> None:
    async def run() -> None:
        driven, rng = await filled(), random.Random(1)
        request = FilterRequest("price < 5 AND brand > 'b2'")
        stopped = False

        async def change() -> None:
            while not stopped:
                driven.put(*(item(item_id, rng) for item_id in rng.sample(MODEL, at_once)))
                await asyncio.sleep(0.001)

        changing = asyncio.create_task(change())
        for round_number in range(5):
            other = FilterRequest(f"price < 5 AND brand > 'b2' AND price <> {round_number + 100}")
            for asked in (request, other):
                allowed = await driven.catalogue.allowed("one", asked)
                assert ids_of(MODEL, allowed) == expected(driven, 5, "b2")
        stopped = True
        await changing
        driven.catalogue.close()

    asyncio.run(run())


def test_few_changes_are_followed_without_a_compilation() -> None:
    async def run() -> None:
        driven, rng = await filled(), random.Random(2)
        request = FilterRequest("price < 5 AND brand > 'b2'")
        await driven.catalogue.allowed("one", request)
        driven.put(*(item(item_id, rng) for item_id in MODEL[:MAX_ROWS_AT_ONCE]))
        allowed = driven.catalogue.allowed_now("one", request)
        assert allowed is not NOT_CACHED
        assert ids_of(MODEL, allowed) == expected(driven, 5, "b2")
        driven.put(*(item(item_id, rng) for item_id in MODEL[: MAX_ROWS_AT_ONCE + 1]))
        assert driven.catalogue.allowed_now("one", request) is NOT_CACHED
        # Availability alone needs no evaluation, so any number of changes is followed at once.
        assert await driven.catalogue.allowed("one", None) is not None
        driven.put(*(item(item_id, rng) for item_id in MODEL))
        assert driven.catalogue.allowed_now("one", None) is not NOT_CACHED
        driven.catalogue.close()

    asyncio.run(run())


def test_least_recently_used_filters_make_room() -> None:
    async def run() -> None:
        driven = await filled(filter_bytes=4 * (COUNT // 8 + 1100))
        requests = [FilterRequest(f"price < {number}") for number in range(1, 6)]
        for request in requests[:4]:
            await driven.catalogue.allowed("one", request)
        assert driven.catalogue.allowed_now("one", requests[0]) is not NOT_CACHED
        await driven.catalogue.allowed("one", requests[4])
        cached = [driven.catalogue.allowed_now("one", request) is not NOT_CACHED for request in requests]
        assert cached == [True, False, True, True, True]
        driven.catalogue.close()

    asyncio.run(run())


def test_waiting_requests_share_a_compilation_that_outlives_the_first_of_them() -> None:
    async def run() -> None:
        driven = await filled()
        request = FilterRequest("brand LIKE '%1%' AND price < 5")
        first, second = (asyncio.create_task(driven.catalogue.allowed("one", request)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second) is not None
        assert first.cancelled()
        driven.catalogue.close()

    asyncio.run(run())


def test_new_filters_beyond_the_bound_are_refused() -> None:
    async def run() -> None:
        driven = await filled()
        requests = [FilterRequest(f"price < {number}") for number in range(100)]
        asked = (driven.catalogue.allowed("one", request) for request in requests)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
        assert 0 < len(refused) < len(requests)
        driven.catalogue.close()

    asyncio.run(run())


def test_refused_expression_is_refused_again() -> None:
    async def run() -> None:
        catalogue = Catalogue(1)
        await catalogue.add_model("one", ["a"])
        for _ in range(2):
            with pytest.raises(InvalidRequest):
                await catalogue.allowed("one", FilterRequest("price <"))
        catalogue.close()

    asyncio.run(run())
