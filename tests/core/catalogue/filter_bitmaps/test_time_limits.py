from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from service.core.catalogue.expression.parser import parse
from service.core.catalogue.filter_bitmaps import time_limits
from service.core.catalogue.filter_cache import NOT_CACHED
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from tests.core.catalogue.driven import MODEL, Driven, allowed, ids_of, run
from tests.core.catalogue.expressions import NOW
from tests.core.catalogue.reference import COMPARISONS, Reference

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


@pytest.mark.parametrize("spread", [1, 3, 10**9])
@pytest.mark.parametrize("expression", ["until > now()", "until <= now() + INTERVAL '1' HOUR OR until = now()"])
def test_rows_beyond_the_known_instants_are_evaluated_when_their_time_comes(
    expression: str, spread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "_KEPT", 8)
    model = [f"i-{index}" for index in range(500)]
    rng = random.Random(spread)

    async def test() -> None:
        driven = Driven()
        start = driven.now
        await driven.catalogue.add_model("one", model)
        tree = parse(expression)
        request = FilterRequest(expression)

        def put(*item_ids: str) -> None:
            for item_id in item_ids:
                until = NOW + timedelta(microseconds=rng.randrange(spread) * 10)
                driven.put(Item(item_id, attributes={"until": until}))

        put(*model)
        for _ in range(60):
            driven.now += rng.choice([0, 1, 9, 10, spread, spread // 3])
            if rng.random() < 0.3:
                put(rng.choice(model))
            found = ids_of(model, await driven.catalogue.allowed("one", request))
            reference = Reference({}, NOW + timedelta(microseconds=driven.now - start))
            assert found == {name for name, item in driven.entries.items() if reference.holds(tree, name, item)}
        driven.catalogue.close()

    asyncio.run(test())


def test_known_instants_stay_few_however_many_items_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limits, "_KEPT", 8)

    async def test(driven: Driven) -> None:
        request = FilterRequest("until > now()")
        driven.put(Item("a", attributes={"until": NOW + timedelta(days=1)}))
        await driven.catalogue.allowed("one", request)
        size = driven.catalogue.nbytes
        for second in range(300):
            driven.put(Item("a", attributes={"until": NOW + timedelta(seconds=1 + second)}))
            assert driven.catalogue.allowed_now("one", request) is not NOT_CACHED
        model = [f"i-{index}" for index in range(300)]
        await driven.catalogue.add_model("two", model)
        await driven.catalogue.allowed("two", request)
        for index, item_id in enumerate(model):
            driven.put(Item(item_id, attributes={"until": NOW + timedelta(seconds=1 + index)}))
            assert ids_of(model, await driven.catalogue.allowed("two", request)) == set(model[: index + 1])
        compiled = driven.catalogue._filters.current(("two", 0, 0, "until > now()", ()))
        assert compiled is not None
        assert compiled._upcoming is not None
        assert len(compiled._upcoming._times) <= 4 * 8
        assert driven.catalogue.nbytes < size + 100_000

    run(test)
