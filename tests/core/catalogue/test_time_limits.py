from __future__ import annotations

from datetime import timedelta

import pytest

from service.core.catalogue.filter_cache import NOT_CACHED
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from tests.core.catalogue.driven import MODEL, Driven, allowed, ids_of, run
from tests.core.catalogue.expressions import NOW
from tests.core.catalogue.reference import COMPARISONS

SECOND = 1_000_000


@pytest.mark.parametrize("operator", list(COMPARISONS))
def test_item_changes_sides_at_the_very_microsecond(operator: str) -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"until": NOW + timedelta(seconds=1)}))
        start = driven.now
        request = FilterRequest(f"until {operator} now()")
        await driven.catalogue.allowed("one", request)
        for offset in (0, SECOND - 1, SECOND, SECOND + 1, 2 * SECOND):
            driven.now = start + offset
            found = driven.catalogue.allowed_now("one", request)
            assert found is not NOT_CACHED
            assert ("a" in ids_of(MODEL, found)) is COMPARISONS[operator](SECOND, offset), offset

    run(test)


def test_item_expires_with_a_validity_that_was_set_after_the_compilation() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("b"))
        request = FilterRequest("until > now()")
        assert await allowed(driven, "until > now()") == set()
        driven.put(Item("a", attributes={"until": NOW + timedelta(seconds=1)}))
        assert ids_of(MODEL, driven.catalogue.allowed_now("one", request)) == {"a"}  # type: ignore[arg-type]
        driven.now += SECOND
        assert ids_of(MODEL, driven.catalogue.allowed_now("one", request)) == set()  # type: ignore[arg-type]

    run(test)


def test_clock_that_is_set_back_is_followed() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"until": NOW + timedelta(seconds=1)}))
        driven.now += 2 * SECOND
        assert await allowed(driven, "until > now()") == set()
        driven.now -= 2 * SECOND
        assert await allowed(driven, "until > now()") == {"a"}

    run(test)
