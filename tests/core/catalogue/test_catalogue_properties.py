"""Filters and pages against a plain evaluation of each item."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.catalogue.expression import syntax
from service.core.catalogue.filter_cache import NOT_CACHED
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from tests.core.catalogue.driven import MODEL, Driven, ids_of
from tests.core.catalogue.expressions import NOW, conditions, items, parameters, render
from tests.core.catalogue.reference import Reference


@settings(max_examples=300, deadline=None)
@given(
    conditions, parameters, st.lists(items, max_size=8), st.lists(st.lists(items, max_size=3), max_size=3), st.data()
)
def test_compiled_and_patched_filters_allow_what_a_plain_evaluation_does(
    tree: syntax.Condition, values: dict[str, Any], first: list[Item], later: list[list[Item]], data: st.DataObject
) -> None:
    other = data.draw(st.permutations([*MODEL, "i-3"]))
    text = render(tree)
    request = FilterRequest(text, None, {name: value for name, value in values.items() if f":{name}" in text})

    async def run() -> None:
        driven = Driven()
        await driven.catalogue.add_model("one", MODEL)
        driven.put(*first)
        await driven.catalogue.add_model("two", other)
        for version, model in (("one", MODEL), ("two", other)):
            allowed = await driven.catalogue.allowed(version, request)
            assert ids_of(model, allowed) == driven.expected(model, tree, values), text
        for batch in later:
            driven.put(*batch)
            for version, model in (("one", MODEL), ("two", other)):
                patched = driven.catalogue.allowed_now(version, request)
                assert patched is not NOT_CACHED
                assert ids_of(model, patched) == driven.expected(model, tree, values), text
        driven.catalogue.close()

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(conditions, st.lists(items, max_size=12), st.integers(1, 5))
def test_pages_list_the_entries_that_pass_by_id(tree: syntax.Condition, put: list[Item], limit: int) -> None:
    text = render(tree)
    values = {"number": 1.0, "string": "a", "bool": True, "time": NOW.isoformat()}
    request = FilterRequest(text, None, {name: value for name, value in values.items() if f":{name}" in text})

    async def run() -> None:
        driven = Driven()
        driven.put(*put)
        found, cursor, is_end = [], "", False
        totals = set()
        while not is_end:
            page, cursor, total = await driven.catalogue.page(request, cursor, limit)
            assert len(page) <= limit
            found += page
            totals.add(total)
            is_end = not cursor
        driven.catalogue.close()
        reference = Reference(values, NOW)
        entries = [item for item in driven.entries.values() if not item.deleted]
        passing = [item.item_id for item in entries if reference.holds(tree, item.item_id, item) is True]
        assert [item.item_id for item in found] == sorted(passing)
        assert totals == {len(passing)}

    asyncio.run(run())
