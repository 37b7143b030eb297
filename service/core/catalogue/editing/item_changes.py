"""Requested content of items: types, limits, merging."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

from service.core.catalogue.attributes import RESERVED_NAMES, AttributeType, AttributeValue, parse_time, type_of
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import MAX_ATTRIBUTES
from service.core.errors import InvalidRequest
from service.core.printable_text import printable

MAX_STRING_BYTES = 1024
MAX_STRINGS = 64
MAX_VECTOR = 1024
MAX_RECORD_BYTES = 16 * 1024
ATTRIBUTE_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"

RawValue = bool | int | float | str | Sequence[str]  # of an attribute, as JSON has it

_NAME = re.compile(ATTRIBUTE_NAME)
_KINDS = {
    AttributeType.BOOL: "true or false",
    AttributeType.NUMBER: "a number",
    AttributeType.STRING: "a string",
    AttributeType.STRINGS: "a list of strings",
    AttributeType.TIME: "a time like 2026-12-24T18:00:00Z",
}


@dataclass(frozen=True, slots=True)
class ItemChange:
    """Content of an item, or what a patch changes of it.

    Attributes:
        item_id: The item.
        fields: Those of title, categories, available and vector that are given; None removes.
        attributes: Values by name; None removes.
    """

    item_id: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, RawValue | None] = field(default_factory=dict)


@dataclass(slots=True)
class ItemTypes:
    """Declared types, and the length of vectors; None until the first vector."""

    attributes: dict[str, AttributeType]
    vector_length: int | None

    def copy(self) -> ItemTypes:
        """Return a copy that may be changed."""
        return ItemTypes(dict(self.attributes), self.vector_length)


def merge(base: Item, change: ItemChange, types: ItemTypes) -> tuple[Item, bytes, ItemTypes]:
    """Apply a change to an item.

    Returns the new item, its record, and `types` with what its first values declare. Raises `InvalidRequest`.
    """
    problems: dict[str, str] = {}
    types = types.copy()
    attributes = declared_values(base, types)
    for name, raw in change.attributes.items():
        try:
            _merge_attribute(attributes, name, raw, types)
        except ValueError as error:
            problems[f"attributes.{printable(name)}"] = str(error)
    fields: dict[str, Any] = {
        "title": base.title,
        "categories": base.categories,
        "available": base.available,
        "vector": base.vector,
    }
    for name, raw in change.fields.items():
        try:
            fields[name] = _FIELDS[name](raw, types)
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise _refused(problems)
    item = Item(base.item_id, attributes=attributes, **fields)
    record = to_record(item)
    if len(record) > MAX_RECORD_BYTES:
        raise _refused({"item_id": f"the item takes {len(record)} bytes; at most {MAX_RECORD_BYTES} are allowed"})
    return item, record, types


def declared_values(item: Item, types: ItemTypes) -> dict[str, AttributeValue]:
    """Return the item's values whose attributes are declared with their types.

    The others were written before an attribute's declaration was deleted.
    """
    return {name: value for name, value in item.attributes.items() if types.attributes.get(name) is type_of(value)}


def check_attribute_name(name: str) -> None:
    """Raise `ValueError` unless an attribute may have this name."""
    if not _NAME.match(name):
        raise ValueError("must be a letter or _, then at most 63 letters, digits and _, so that filters can name it")
    if name in (*RESERVED_NAMES, "vector"):
        raise ValueError("is the name of a field of every item; send it beside `attributes`")


def _merge_attribute(
    attributes: dict[str, AttributeValue], name: str, raw: RawValue | None, types: ItemTypes
) -> None:
    """Set or remove one value; declare the type at the first use."""
    if raw is None:
        attributes.pop(name, None)
        return
    kind = types.attributes.get(name)
    if kind is None:
        check_attribute_name(name)
        if len(types.attributes) >= MAX_ATTRIBUTES:
            raise ValueError(f"is not declared, and the catalogue has {MAX_ATTRIBUTES} attributes already")
        kind = _inferred(raw)
    attributes[name] = _coerced(raw, kind)
    types.attributes[name] = kind


def _inferred(raw: RawValue) -> AttributeType:
    if isinstance(raw, bool):
        return AttributeType.BOOL
    if isinstance(raw, int | float):
        return AttributeType.NUMBER
    return AttributeType.STRING if isinstance(raw, str) else AttributeType.STRINGS


def _coerced(raw: RawValue, kind: AttributeType) -> AttributeValue:
    """Return the value in the declared type; raises `ValueError`."""
    found = _inferred(raw)
    if kind is AttributeType.TIME and found is AttributeType.STRING:
        return parse_time(_string(raw))
    if found is not kind:
        raise ValueError(f"is declared as {kind}: send {_KINDS[kind]}, not {_KINDS[found]}")
    if kind is AttributeType.BOOL:
        return bool(raw)
    if kind is AttributeType.NUMBER:
        return _number(raw)
    return _string(raw) if kind is AttributeType.STRING else _strings(raw)


def _number(raw: Any) -> float:  # noqa: ANN401
    try:
        number = float(raw)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number + 0.0  # -0.0 becomes 0.0: equal items have equal records


def _string(raw: Any) -> str:  # noqa: ANN401
    text = normalize("NFC", raw)
    if len(text.encode()) > MAX_STRING_BYTES:
        raise ValueError(f"has {len(text.encode())} bytes; at most {MAX_STRING_BYTES} are allowed")
    return text


def _strings(raw: Any) -> tuple[str, ...]:  # noqa: ANN401
    found = sorted({_string(each) for each in raw})
    if len(found) > MAX_STRINGS:
        raise ValueError(f"has {len(found)} strings; at most {MAX_STRINGS} are allowed")
    return tuple(found)


def _title(raw: Any, types: ItemTypes) -> str | None:  # noqa: ANN401
    return None if raw is None else _string(raw)


def _categories(raw: Any, types: ItemTypes) -> tuple[str, ...]:  # noqa: ANN401
    return () if raw is None else _strings(raw)


def _available(raw: Any, types: ItemTypes) -> bool:  # noqa: ANN401
    return raw is None or bool(raw)


def _vector(raw: Any, types: ItemTypes) -> bytes | None:  # noqa: ANN401
    """Return the vector as float32; the first one declares the length."""
    if raw is None:
        return None
    length = types.vector_length or len(raw)
    if len(raw) != length:
        raise ValueError(f"has {len(raw)} numbers; every vector of this catalogue has {length}")
    try:
        packed = struct.pack(f"<{length}f", *raw)
    except (OverflowError, struct.error):
        raise ValueError("must have finite numbers that fit float32") from None
    types.vector_length = length
    return packed


_FIELDS = {"title": _title, "categories": _categories, "available": _available, "vector": _vector}


def _refused(problems: Mapping[str, str]) -> InvalidRequest:
    details: list[dict[str, object]] = [{"field": name, "problem": text} for name, text in problems.items()]
    return InvalidRequest("this item does not follow the contract", details=details[:20])
