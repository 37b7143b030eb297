"""A catalogue beside a plain record of what it should hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from service.core.catalogue.attributes import to_microseconds
from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.expression import syntax
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import Definitions, ShardPosition, StoredItem
from service.core.engine_requests import AllowedRows
from service.core.errors import InvalidRequest
from tests.core.catalogue.expressions import NOW, TYPES
from tests.core.catalogue.reference import Reference

MODEL = ["a", "ab", "b", "é", "e\u0301", "i-1", "i-2", "%", "never put", "abcdefgh"]
DEFINITIONS = Definitions(ShardPosition(1, "d"), {name: kind.value for name, kind in TYPES.items()}, {})
ALL = set(MODEL)


class Driven:
    """A catalogue of one shard, and the items as they should be."""

    def __init__(self, **options: Any) -> None:
        self.now = to_microseconds(NOW)
        self.catalogue = Catalogue(1, clock=lambda: self.now, **options)
        self.catalogue.set_definitions(DEFINITIONS)
        self.entries: dict[str, Item] = {}
        self.changed_at: dict[str, int] = {}
        self.revision = 0

    def put(self, *put: Item) -> None:
        stored = []
        for item in put:
            self.revision += 1
            self.entries[item.item_id] = item
            self.changed_at[item.item_id] = self.revision
            stored.append(StoredItem(item.item_id, self.revision, to_record(item)))
        self.catalogue.apply(0, ShardPosition(self.revision, "t"), stored)

    def expected(self, model: list[str], tree: syntax.Condition, values: dict[str, Any]) -> set[str]:
        reference, found = Reference(values, NOW), set()
        for item_id in model:
            entry = self.entries.get(item_id)
            is_shown = entry is None or (entry.available and not entry.deleted)
            if is_shown and reference.holds(tree, item_id, entry) is True:
                found.add(item_id)
        return found


def ids_of(model: list[str], allowed: AllowedRows | None) -> set[str]:
    if allowed is None:
        return set(model)
    bits = np.unpackbits(allowed.bitmap.view(np.uint8), bitorder="little")
    rows = np.flatnonzero(bits).tolist()
    assert len(rows) == allowed.count
    return {model[row - 1] for row in rows}


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
