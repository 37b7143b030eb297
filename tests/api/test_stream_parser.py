"""Stream entries are parsed by the rules of a request body."""

from __future__ import annotations

import pytest

from service.api.stream_parser import StreamParser
from service.core.errors import InvalidRequest
from service.core.jobs.event_source import StreamEntry


def entry(**fields: str | bytes) -> StreamEntry:
    values = {name.encode(): value.encode() if isinstance(value, str) else value for name, value in fields.items()}
    return StreamEntry("1700000000250-7", values)


def test_missing_event_id_and_timestamp_come_from_entry_id() -> None:
    user_id, event = StreamParser("events").parse(entry(user_id="u", item_id="i"))
    assert (user_id, event.item_id) == ("u", "i")
    assert (event.event_id, event.timestamp) == ("stream:events:1700000000250-7", 1700000000.25)
    assert event == StreamParser("events").parse(entry(user_id="u", item_id="i"))[1]


@pytest.mark.parametrize("timestamp", ["5", "5.0", "1970-01-01T00:00:05Z"])
def test_fields_of_an_entry_become_fields_of_the_event(timestamp: str) -> None:
    _, event = StreamParser("events").parse(entry(user_id="u", item_id="é", event_id="e", timestamp=timestamp))
    assert (event.item_id, event.event_id, event.timestamp) == ("é", "e", 5.0)


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
        {"user_id": b"\xff", "item_id": "i"},
    ],
)
def test_invalid_entry_is_refused(fields: dict[str, str | bytes]) -> None:
    with pytest.raises(InvalidRequest):
        StreamParser("events").parse(entry(**fields))
