"""Items decoded together, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.items import parse_record

ColumnKey = tuple[str, AttributeType]

_TYPES: Mapping[type, AttributeType] = {
    bool: AttributeType.BOOL,
    float: AttributeType.NUMBER,
    str: AttributeType.STRING,
    list: AttributeType.STRINGS,
    dict: AttributeType.TIME,
}


class ItemBatch(NamedTuple):
    """Values of several items.

    Attributes:
        deleted: Whether each is a tombstone.
        values: By name and type, one for each item; None is NULL, and a time is in microseconds.
    """

    deleted: list[bool]
    values: dict[ColumnKey, list[Any]]


def decode_batch(records: Sequence[bytes]) -> ItemBatch:
    """Decode records, which takes a fraction of decoding one after another.

    Raises `StoreUnavailable` if a newer release wrote one.
    """
    contents = list(map(parse_record, records))
    deleted = [content["deleted"] for content in contents]
    # A tombstone's record has neither title nor attributes.
    values: dict[ColumnKey, list[Any]] = {
        ("title", AttributeType.STRING): [content["title"] for content in contents],
        ("categories", AttributeType.STRINGS): [
            None if content["deleted"] else tuple(content["categories"]) for content in contents
        ],
        ("available", AttributeType.BOOL): [
            None if content["deleted"] else content["available"] for content in contents
        ],
    }
    attributes = [content["attributes"] for content in contents]
    for name in dict.fromkeys(name for each in attributes for name in each):
        found = [each.get(name) for each in attributes]
        kinds = set(map(type, found)) - {type(None)}
        for kind in kinds:
            of_kind = found if len(kinds) == 1 else [value if type(value) is kind else None for value in found]
            values[name, _TYPES[kind]] = _converted(of_kind, kind)
    return ItemBatch(deleted, values)


def _converted(values: list[Any], kind: type) -> list[Any]:
    if kind is list:
        return [None if value is None else tuple(value) for value in values]
    if kind is dict:
        return [None if value is None else value["time"] for value in values]
    return values
