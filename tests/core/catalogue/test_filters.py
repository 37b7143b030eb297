from __future__ import annotations

from typing import Any

import pytest

from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from service.core.catalogue_store import Definitions, ShardPosition
from service.core.errors import InvalidRequest
from tests.core.catalogue.driven import ALL, DEFINITIONS, MODEL, Driven, allowed, ids_of, refused, run
from tests.core.catalogue.expressions import NOW


def test_unknown_attribute_is_refused_in_an_empty_catalogue_with_its_position() -> None:
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


def test_values_that_are_equal_in_python_only_do_not_share_a_filter_bitmap() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"price": 1.0}))
        assert await allowed(driven, "price = :p", p=1) == {"a"}
        assert "must be a number" in (await refused(driven, FilterRequest("price = :p", None, {"p": True}))).message

    run(test)


@pytest.mark.parametrize(
    "expression", ["item_id = 'é'", "item_id LIKE '_' AND item_id > 'c'", "item_id IN ('é', 'x')", "item_id > 'zz'"]
)
def test_ids_are_compared_in_normal_form(expression: str) -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a"))
        expected = {"é", "e\u0301"}
        assert await allowed(driven, expression) == expected
        driven.put(Item("e\u0301", available=False))
        assert await allowed(driven, expression) == {"é"}
        driven.put(Item("e\u0301"))
        assert await allowed(driven, expression) == expected

    run(test)
