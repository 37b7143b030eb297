from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from service.core.catalogue.filter_cache import NOT_CACHED
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item, to_record
from service.core.catalogue.revisions import includes
from service.core.catalogue_store import Definitions, ShardPosition, StoredItem
from service.core.errors import InvalidRequest
from tests.core.catalogue.driven import DEFINITIONS, MODEL, Driven, ids_of
from tests.core.catalogue.expressions import NOW
from tests.core.catalogue.reference import COMPARISONS

SECOND = 1_000_000
ALL = set(MODEL)


def run(test: Any) -> None:
    """Run a coroutine function with an open catalogue that knows one model."""

    async def wrapped() -> None:
        async for driven in opened():
            await test(driven)

    asyncio.run(wrapped())


async def opened(**options: Any) -> AsyncIterator[Driven]:
    driven = Driven(**options)
    await driven.catalogue.add_model("one", MODEL)
    yield driven
    driven.catalogue.close()


async def allowed(driven: Driven, expression: str | None = None, **values: Any) -> set[str]:
    request = None if expression is None else FilterRequest(expression, None, values)
    return ids_of(MODEL, await driven.catalogue.allowed("one", request))


async def refused(driven: Driven, request: FilterRequest | str) -> InvalidRequest:
    asked = FilterRequest(request) if isinstance(request, str) else request
    with pytest.raises(InvalidRequest) as caught:
        await driven.catalogue.allowed("one", asked)
    return caught.value


def test_everything_is_allowed_until_the_first_item_is_put() -> None:
    async def test(driven: Driven) -> None:
        assert driven.catalogue.is_empty
        assert driven.catalogue.allowed_now("one", None) is None
        driven.put(Item("a", available=False))
        assert not driven.catalogue.is_empty
        assert await allowed(driven) == ALL - {"a"}

    run(test)


def test_item_without_entry_is_allowed_only_if_the_catalogue_is_open() -> None:
    async def test() -> None:
        async for driven in opened(listed_only=True):
            driven.put(Item("a"), Item("b", available=False))
            assert await allowed(driven) == {"a"}
            assert await allowed(driven, "item_id <> 'z'") == {"a"}

    asyncio.run(test())


def test_deleted_item_is_blocked_until_it_is_put_again() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a"))
        driven.put(Item("a", deleted=True))
        assert await allowed(driven) == ALL - {"a"}
        assert driven.catalogue.get("a") is None
        driven.put(Item("a", "back"))
        assert await allowed(driven) == ALL
        assert driven.catalogue.get("a") == Item("a", "back")

    run(test)


def test_hidden_item_leaves_a_compiled_filter_at_once() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"price": 1.0}), Item("b", attributes={"price": 1.0}))
        request = FilterRequest("price < 5")
        assert await allowed(driven, "price < 5") == {"a", "b"}
        driven.put(Item("a", available=False, attributes={"price": 1.0}))
        now = driven.catalogue.allowed_now("one", request)
        assert now is not NOT_CACHED
        assert ids_of(MODEL, now) == {"b"}

    run(test)


def test_older_revision_never_replaces_a_newer_one() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", "new"))
        driven.put(Item("b"))
        driven.catalogue.apply(0, ShardPosition(1, "t"), [StoredItem("a", 0, to_record(Item("a", "old")))])
        entry = driven.catalogue.get("a")
        assert entry is not None
        assert entry.title == "new"
        assert driven.catalogue.position(0).revision == 2

    run(test)


def test_read_again_shard_forgets_what_is_gone_and_takes_reissued_revisions() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", available=False), Item("b", available=False), Item("i-1", "of a lost primary"))
        assert await allowed(driven) == ALL - {"a", "b"}
        before = driven.catalogue.revision
        items = [StoredItem("b", 1, to_record(Item("b"))), StoredItem("i-1", 2, to_record(Item("i-1", "kept")))]
        driven.catalogue.replace_shard(0, ShardPosition(2, "other"), items)
        assert await allowed(driven) == ALL
        assert driven.catalogue.get("a") is None
        assert driven.catalogue.get("i-1") == Item("i-1", "kept")
        assert not includes(driven.catalogue.revision, before)

    run(test)


def test_revision_changes_with_items_and_with_definitions() -> None:
    async def test(driven: Driven) -> None:
        first = driven.catalogue.revision
        driven.put(Item("a"))
        second = driven.catalogue.revision
        driven.catalogue.set_definitions(DEFINITIONS._replace(position=ShardPosition(2, "e")))
        third = driven.catalogue.revision
        assert len({first, second, third}) == 3
        assert includes(third, second)
        assert includes(second, first)
        assert not includes(first, second)

    run(test)


def test_unknown_attribute_is_refused_in_an_empty_catalogue_with_place_and_suggestion() -> None:
    async def test(driven: Driven) -> None:
        error = await refused(driven, "sale AND\n  prise < 50")
        assert error.message == "filter, line 2, column 3: no attribute 'prise'; did you mean 'price'?"
        assert error.details == [
            {
                "field": "filter",
                "problem": "no attribute 'prise'; did you mean 'price'?",
                "offset": 11,
                "line": 2,
                "column": 3,
                "suggestion": "price",
            }
        ]

    run(test)


def test_filter_by_id_works_in_an_empty_catalogue() -> None:
    async def test(driven: Driven) -> None:
        assert await allowed(driven, "item_id IN ('a', 'b', 'unknown')") == {"a", "b"}
        assert await allowed(driven, "price < 50") == set()
        assert await allowed(driven, "price IS NULL") == ALL
        driven.put(Item("a", attributes={"price": 1.0}))
        assert await allowed(driven, "price < 50") == {"a"}

    run(test)


def test_named_filter_follows_its_definition() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"price": 1.0}), Item("b", attributes={"price": 9.0}))
        request = FilterRequest(None, "cheap")
        for revision, text, expected in ((2, "price < 5", {"a"}), (3, "price > 5", {"b"})):
            position = ShardPosition(revision, "d")
            driven.catalogue.set_definitions(DEFINITIONS._replace(position=position, filters={"cheap": text}))
            assert ids_of(MODEL, await driven.catalogue.allowed("one", request)) == expected
        error = await refused(driven, FilterRequest(None, "cheep"))
        assert error.details == [
            {"field": "filter_name", "problem": "no filter 'cheep'; did you mean 'cheap'?", "suggestion": "cheap"}
        ]
        with pytest.raises(InvalidRequest):
            driven.catalogue.allowed_now("one", FilterRequest(None, "cheep"))

    run(test)


def test_attribute_that_changed_its_type_has_no_values_of_the_old_one() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"price": 1.0}))
        assert await allowed(driven, "price = 1") == {"a"}
        other = {**DEFINITIONS.attributes, "price": "string"}
        driven.catalogue.set_definitions(Definitions(ShardPosition(2, "d"), other, {}))
        assert "is a string" in (await refused(driven, "price = 1")).message
        assert await allowed(driven, "price = '1'") == set()
        driven.put(Item("a", attributes={"price": "1"}))
        assert await allowed(driven, "price = '1'") == {"a"}

    run(test)


@pytest.mark.parametrize(
    ("expression", "values", "problem"),
    [
        ("price < :max", {}, "parameter :max has no value"),
        ("price < :max", {"max": "5", "maxi": 1}, "has no parameter 'maxi'; did you mean 'max'?"),
        ("price < :max", {"max": "5 "}, "parameter :max must be a number"),
        ("price < :max", {"max": True}, "parameter :max must be a number"),
        ("price < :max", {"max": "1e999"}, "parameter :max must be a finite number"),
        ("price < :max", {"max": 10**400}, "parameter :max must be a finite number"),
        ("price < :max", {"max": (1, 2)}, "parameter :max must be one value"),
        ("brand = :b", {"b": 1}, "parameter :b must be a string"),
        ("sale = :s", {"s": "yes"}, "parameter :s must be true or false"),
        ("until > :t", {"t": "2026-12-24T18:00:00"}, "must be a time like 2026-12-24T18:00:00Z, with an offset or Z"),
        ("brand IN :list", {"list": ()}, "parameter :list must be a list of 1 to 1000 values"),
        ("brand IN :list", {"list": ("a",) * 1001}, "parameter :list must be a list of 1 to 1000 values"),
        ("brand = :b OR price = :b", {"b": "1"}, "parameter :b is used with two types"),
        ("brand = :b", {"b": "x" * 1025}, "parameter :b must be at most 1024 characters"),
        ("brand LIKE :p ESCAPE '!'", {"p": "a!b"}, "after the escape character comes %, _ or itself"),
    ],
)
def test_parameter_of_another_type_is_refused(expression: str, values: dict[str, Any], problem: str) -> None:
    async def test(driven: Driven) -> None:
        assert problem in (await refused(driven, FilterRequest(expression, None, values))).message

    run(test)


def test_parameters_are_typed_by_what_they_are_compared_with() -> None:
    async def test(driven: Driven) -> None:
        item = Item("a", attributes={"price": 2.0, "brand": "2", "sale": True, "until": NOW})
        driven.put(item)
        for given in (2, 2.0, "2", "2.0", "+2e0"):
            assert await allowed(driven, "price = :p", p=given) == {"a"}
        for sale in (True, "true"):
            assert await allowed(driven, "sale = :s AND :s", s=sale) == {"a"}
        assert await allowed(driven, "until = :t", t="2026-12-01T13:00:00+01:00") == {"a"}
        assert await allowed(driven, "brand IN :list", list=("2", None)) == {"a"}
        assert await allowed(driven, "brand IN :list", list="2") == {"a"}
        assert await allowed(driven, ":b IS NULL OR brand = :b", b=None) == ALL
        assert await allowed(driven, ":b IS NULL OR brand = :b", b="2") == {"a"}

    run(test)


def test_values_that_are_equal_in_python_only_do_not_share_a_compiled_filter() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"price": 1.0}))
        assert await allowed(driven, "price = :p", p=1) == {"a"}
        assert "must be a number" in (await refused(driven, FilterRequest("price = :p", None, {"p": True}))).message

    run(test)


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


def test_model_that_was_removed_takes_its_filters_along() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", available=False))
        await driven.catalogue.add_model("two", ["b", "a"])
        two = await driven.catalogue.allowed("two", None)
        assert ids_of(["b", "a"], two) == {"b"}
        size = driven.catalogue.nbytes
        driven.catalogue.remove_model("two")
        assert driven.catalogue.nbytes < size

    run(test)


def test_allowed_rows_that_were_handed_out_never_change() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"price": 1.0}))
        old = await driven.catalogue.allowed("one", FilterRequest("price < 5"))
        assert old is not None
        copy = old.bitmap.copy()
        driven.put(Item("b", attributes={"price": 1.0}))
        assert await allowed(driven, "price < 5") == {"a", "b"}
        assert np.array_equal(old.bitmap, copy)
        assert old.count == 1

    run(test)
