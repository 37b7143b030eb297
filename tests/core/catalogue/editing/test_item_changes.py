"""Types, limits and merging of requested content."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import pytest

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.editing.item_changes import ItemChange, ItemTypes, check_attribute_name, merge
from service.core.catalogue.items import Item
from service.core.errors import InvalidRequest

NOTHING = ItemTypes({}, None)
DECLARED = ItemTypes({kind.value: kind for kind in AttributeType}, 2)


def problems(change: ItemChange, types: ItemTypes = DECLARED) -> dict[str, str]:
    """The problems of a refused change, by field."""
    with pytest.raises(InvalidRequest) as refused:
        merge(Item("i"), change, types)
    assert refused.value.details is not None
    return {str(detail["field"]): str(detail["problem"]) for detail in refused.value.details}


def value_of(raw: Any, kind: AttributeType) -> Any:
    item, *_ = merge(Item("i"), ItemChange("i", {}, {kind.value: raw}), DECLARED)
    return item.attributes[kind.value]


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        (True, "bool", True),
        (3, "number", 3.0),
        (-0.0, "number", 0.0),
        ("x", "string", "x"),
        ("Gro\u0308ße", "string", "Größe"),
        (["b", "a", "b"], "strings", ("a", "b")),
        ([], "strings", ()),
    ],
)
def test_first_value_declares_its_type(raw: Any, kind: str, value: Any) -> None:
    item, _, types = merge(Item("i"), ItemChange("i", {}, {"it": raw}), NOTHING)
    assert item.attributes == {"it": value}
    assert repr(item.attributes["it"]) == repr(value)
    assert types == ItemTypes({"it": AttributeType(kind)}, None)
    assert ItemTypes({}, None) == NOTHING


def test_time_is_read_if_it_is_declared() -> None:
    expected = datetime(2026, 12, 24, 17, tzinfo=UTC)
    assert value_of("2026-12-24T18:00:00+01:00", AttributeType.TIME) == expected
    assert "with an offset or Z" in problems(ItemChange("i", {}, {"time": "2026-12-24T18:00:00"}))["attributes.time"]


@pytest.mark.parametrize("kind", AttributeType)
@pytest.mark.parametrize("raw", [True, 1.5, "x", ["x"]], ids=["bool", "number", "string", "strings"])
def test_value_of_another_type_is_refused_with_a_sentence(kind: AttributeType, raw: Any) -> None:
    names = {bool: "bool", float: "number", str: "string", list: "strings"}
    if names[type(raw)] == kind:
        value_of(raw, kind)
    elif kind is AttributeType.TIME and isinstance(raw, str):
        assert "is not a time" in problems(ItemChange("i", {}, {kind.value: raw}))[f"attributes.{kind.value}"]
    else:
        problem = problems(ItemChange("i", {}, {kind.value: raw}))[f"attributes.{kind.value}"]
        assert problem.startswith(f"is declared as {kind.value}: send ")


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"string": "ß" * 513}, "has 1026 bytes; at most 1024 are allowed"),
        ({"strings": [f"{n}" for n in range(65)]}, "has 65 strings; at most 64 are allowed"),
        ({"number": float("inf")}, "must be a finite number"),
        ({"number": 10**400}, "must be a finite number"),
        ({"a-b": 1}, "must be a letter or _"),
        ({"ä": 1}, "must be a letter or _"),
        ({"x" * 65: 1}, "must be a letter or _"),
        ({"title": 1}, "is the name of a field of every item"),
        ({"vector": 1}, "is the name of a field of every item"),
    ],
)
def test_attribute_beyond_a_limit_is_refused(attributes: dict[str, Any], problem: str) -> None:
    [found] = problems(ItemChange("i", {}, attributes)).values()
    assert found.startswith(problem)


def test_attribute_beyond_the_64th_is_refused_and_a_declared_one_is_not() -> None:
    types = ItemTypes({f"a{n}": AttributeType.NUMBER for n in range(64)}, None)
    merge(Item("i"), ItemChange("i", {}, {"a5": 1}), types)
    assert "has 64 attributes already" in problems(ItemChange("i", {}, {"b": 1}), types)["attributes.b"]


def test_first_vector_declares_the_length_of_all() -> None:
    item, _, types = merge(Item("i"), ItemChange("i", {"vector": [0.5, -1, 0.1]}), NOTHING)
    assert item.vector == struct.pack("<3f", 0.5, -1, 0.1)
    assert types.vector_length == 3
    assert problems(ItemChange("i", {"vector": [1.0]}), types) == {
        "vector": "has 1 numbers; every vector of this catalogue has 3"
    }
    assert problems(ItemChange("i", {"vector": [1e300, 1]})) == {
        "vector": "must have finite numbers that fit float32"
    }


def test_item_beyond_16_kb_is_refused() -> None:
    texts = [f"{n:02}" + "x" * 1000 for n in range(20)]
    [problem] = problems(ItemChange("i", {}, {"strings": texts})).values()
    assert problem.startswith("the item takes 20") and problem.endswith("at most 16384 are allowed")


def test_several_problems_are_all_named() -> None:
    change = ItemChange("i", {"title": "x" * 2000, "categories": ["c" * 2000]}, {"number": "x", "bool": 1})
    assert set(problems(change)) == {"title", "categories", "attributes.number", "attributes.bool"}


def test_patch_changes_what_it_names_and_null_removes() -> None:
    vector = struct.pack("<2f", 1, 2)
    base = Item("i", "Shoe", ("a",), False, {"number": 1.0, "bool": True}, vector)
    item, *_ = merge(base, ItemChange("i", {"available": True}, {"number": None, "string": "x"}), DECLARED)
    assert item == Item("i", "Shoe", ("a",), True, {"bool": True, "string": "x"}, vector)
    nothing = dict.fromkeys(("title", "categories", "available", "vector"))
    assert merge(base, ItemChange("i", nothing), DECLARED)[0] == Item("i", attributes=base.attributes)


def test_value_of_an_earlier_declaration_is_dropped() -> None:
    base = Item("i", attributes={"number": "a string", "gone": 1.0, "bool": True})
    assert merge(base, ItemChange("i"), DECLARED)[0].attributes == {"bool": True}


@pytest.mark.parametrize("name", ["price", "_x", "order", "A1", "x" * 64])
def test_identifier_is_an_attribute_name(name: str) -> None:
    check_attribute_name(name)
