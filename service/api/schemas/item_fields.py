"""Fields of the items in an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from service.core.catalogue.attributes import AttributeValue
from service.core.catalogue.items import Item
from service.core.engine_requests import ScoredItem
from service.core.recommending.eligibility import ALWAYS_PRESENT, Eligibility

Json = dict[str, Any]

_SLICE = 100  # entries that are read before other requests run


class ItemFields(NamedTuple):
    """Fields of an answer's items.

    Attributes:
        entries: Entries of the catalogue by item id; None if it is empty.
        names: Attributes that each item carries; empty for none.
        ranked: Whether each item says if it is eligible.
    """

    entries: Mapping[str, Item | None] | None = None
    names: tuple[str, ...] = ()
    ranked: bool = False


PLAIN = ItemFields()


async def fields_of_many(eligibility: Eligibility, items: Sequence[ScoredItem], fields: ItemFields) -> ItemFields:
    """Read the entries of a long answer in slices."""
    entries: dict[str, Item | None] = {}
    for start in range(0, len(items), _SLICE):
        found = eligibility.entries([item.item_id for item in items[start : start + _SLICE]])
        if found is None:
            return fields
        entries.update(found)
        await asyncio.sleep(0)
    return fields._replace(entries=entries)


def fields_of(eligibility: Eligibility, items: Iterable[ScoredItem], fields: ItemFields) -> ItemFields:
    """Read the entries of an answer at once."""
    if not eligibility.is_restricted(None):
        return fields
    return fields._replace(entries=eligibility.entries([item.item_id for item in items]))


def items_out(items: Iterable[ScoredItem], fields: ItemFields = PLAIN) -> list[Json]:
    """Convert to a list of `ItemOut`."""
    out = []
    names = [name for name in fields.names if name not in ALWAYS_PRESENT]
    for item in items:
        found: Json = {"item_id": item.item_id, "score": item.score}
        title, categories = item.title, item.categories
        entry = None if fields.entries is None else fields.entries.get(item.item_id)
        if entry is not None:
            title, categories = entry.title, entry.categories
        if title is not None:
            found["title"] = title
        if categories:
            found["categories"] = categories
        if fields.names:
            values = {} if entry is None else entry.attributes
            found["attributes"] = {name: value_out(values[name]) for name in names if name in values}
        if fields.ranked:
            found["eligible"] = item.eligible
        out.append(found)
    return out


def value_out(value: AttributeValue) -> bool | float | str | list[str]:
    """Return an attribute's value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return list(value) if isinstance(value, tuple) else value
