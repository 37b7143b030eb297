"""Items of the catalogue, and the bytes of their records."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from service.core.catalogue.attributes import AttributeValue, from_microseconds, to_microseconds
from service.core.errors import StoreUnavailable

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Item:
    """Entry of the catalogue.

    Attributes:
        item_id: The item.
        title: Its title, if any.
        categories: Distinct categories, sorted.
        available: Whether it may be shown.
        attributes: Values by name; an absent name is NULL.
        vector: Vector of the shop's own, if any: float32, little-endian.
        deleted: Whether the entry is a tombstone, which blocks the item.
    """

    item_id: str
    title: str | None = None
    categories: tuple[str, ...] = ()
    available: bool = True
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    vector: bytes | None = None
    deleted: bool = False


def to_record(item: Item) -> bytes:
    """Encode everything but the id; equal items have equal bytes."""
    values = {name: _to_json(value) for name, value in item.attributes.items()}
    content = {
        "format": _FORMAT,
        "title": item.title,
        "categories": item.categories,
        "available": item.available,
        "attributes": values,
        "vector": None if item.vector is None else b64encode(item.vector).decode(),
        "deleted": item.deleted,
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def from_record(item_id: str, record: bytes) -> Item:
    """Decode a record.

    Raises `StoreUnavailable` if a newer release wrote it.
    """
    content = parse_record(record)
    vector = content["vector"]
    return Item(
        item_id,
        content["title"],
        tuple(content["categories"]),
        content["available"],
        {name: _from_json(value) for name, value in content["attributes"].items()},
        None if vector is None else b64decode(vector),
        content["deleted"],
    )


def parse_record(record: bytes) -> dict[str, Any]:
    """Return the fields of a record, as JSON has them.

    Raises `StoreUnavailable` if a newer release wrote it.
    """
    content: dict[str, Any] = from_json(record)
    if content["format"] != _FORMAT:
        raise StoreUnavailable(
            "the catalogue has data of another release",
            for_log=f"an item's record has format {content['format']}, which this release cannot read;"
            " run the release that wrote it",
        )
    return content


def _to_json(value: AttributeValue) -> object:
    # A time is marked, because JSON cannot tell it from a number.
    return {"time": to_microseconds(value)} if isinstance(value, datetime) else value


def _from_json(value: Any) -> AttributeValue:  # noqa: ANN401
    if isinstance(value, dict):
        return from_microseconds(value["time"])
    return tuple(value) if isinstance(value, list) else value
