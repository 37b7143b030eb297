"""Stream entries are parsed by the rules of a request body."""

from __future__ import annotations

import pytest

from service.api.stream_parser import MAX_ITEM_BYTES, EventEntryParser, ItemEntryParser
from service.core.catalogue.editing.item_changes import ItemChange
from service.core.catalogue.editing.item_editor import EditMode, ItemEdit
from service.core.errors import InvalidRequest
from service.core.jobs.streams.stream_source import StreamEntry


def entry(**fields: str | bytes) -> StreamEntry:
    values = {name.encode(): value.encode() if isinstance(value, str) else value for name, value in fields.items()}
    return StreamEntry("1700000000250-7", values)


def test_missing_event_id_and_timestamp_come_from_entry_id() -> None:
    user_id, event = EventEntryParser("events").parse(entry(user_id="u", item_id="i"))
    assert (user_id, event.item_id) == ("u", "i")
    assert (event.event_id, event.timestamp) == ("stream:events:1700000000250-7", 1700000000.25)
    assert event == EventEntryParser("events").parse(entry(user_id="u", item_id="i"))[1]


@pytest.mark.parametrize("timestamp", ["5", "5.0", "1970-01-01T00:00:05Z"])
def test_fields_of_an_entry_become_fields_of_the_event(timestamp: str) -> None:
    _, event = EventEntryParser("events").parse(entry(user_id="u", item_id="é", event_id="e", timestamp=timestamp))
    assert (event.item_id, event.event_id, event.timestamp) == ("é", "e", 5.0)


def test_event_of_an_entry_has_type_value_and_recommendation_id() -> None:
    fields = entry(user_id="u", item_id="i", type="purchase", value="49.90", recommendation_id="r")
    _, event = EventEntryParser("events").parse(fields)
    assert (event.type, event.value, event.recommendation_id) == ("purchase", 49.9, "r")
    assert EventEntryParser("events").parse(entry(user_id="u", item_id="i", value="-1e3"))[1].value == -1000.0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user_id": "u"},
        {"user_id": "u", "item_id": ""},
        {"user_id": "u", "item_id": "x" * 257},
        {"user_id": "u", "item_id": "i", "surprise": "1"},
        {"user_id": "u", "item_id": "i", "timestamp": "yesterday"},
        {"user_id": "u", "item_id": "i", "timestamp": "9" * 20},
        {"user_id": "u", "item_id": "i", "event_id": "seq-1"},
        {"user_id": "u", "item_id": "i", "type": "Purchase"},
        {"user_id": "u", "item_id": "i", "value": "dear"},
        {"user_id": "u", "item_id": "i", "value": "1e13"},
        {"user_id": "u", "item_id": "i", "value": ""},
        {"user_id": "u", "item_id": "i", "recommendation_id": "x" * 513},
        {"user_id": b"\xff", "item_id": "i"},
    ],
)
def test_invalid_event_is_refused(fields: dict[str, str | bytes]) -> None:
    with pytest.raises(InvalidRequest):
        EventEntryParser("events").parse(entry(**fields))


def test_item_of_an_entry_is_one_of_a_batch() -> None:
    item = '{"item_id": "é", "title": "Shoe", "available": null, "attributes": {"price": 5, "old": null}}'
    change = ItemChange("é", {"title": "Shoe", "available": None}, {"price": 5, "old": None})
    assert ItemEntryParser().parse(entry(item=item)) == ItemEdit(change, EditMode.PUT)
    assert ItemEntryParser().parse(entry(item=item, mode="patch")) == ItemEdit(change, EditMode.PATCH)
    deleted = ItemEntryParser().parse(entry(item='{"item_id": "a"}', mode="delete"))
    assert deleted == ItemEdit(ItemChange("a"), EditMode.DELETE)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "item"),
        ({"item": "{"}, "item"),
        ({"item": "[" * 60_000}, "item"),
        ({"item": "[]"}, "item"),
        ({"item": "{}"}, "item_id"),
        ({"item": '{"item_id": 5}'}, "item_id"),
        ({"item": '{"item_id": "a", "surprise": 1}'}, "surprise"),
        ({"item": '{"item_id": "a", "attributes": {"x": {}}}'}, "attributes.x"),
        ({"item": '{"item_id": "a"}', "mode": "remove"}, "mode"),
        ({"item": '{"item_id": "a", "title": "A"}', "mode": "delete"}, "item"),
        ({"item": '{"item_id": "a"}', "item_id": "a"}, "item_id"),
        ({"item": '{"item_id": "a", "title": "' + "x" * MAX_ITEM_BYTES + '"}'}, "item"),
    ],
)
def test_invalid_item_is_refused_by_its_field(fields: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        ItemEntryParser().parse(entry(**fields))
    assert [detail["field"] for detail in refusal.value.details or ()] == [field]


def test_item_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        ItemEntryParser().parse(entry(item=b"\xff"))
