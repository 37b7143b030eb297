"""Python and Lua agree on the layout of a log entry."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from service.core.errors import StoreUnavailable
from service.core.events import Event
from service.store.redis.layout import decode_events
from tests.servers import RedisServer
from tests.store.redis.lua_entry import EntryFields, pack_entry, unpack_entry

_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
_milliseconds = st.integers(0, 2**45)
_values = st.none() | st.floats(allow_nan=False, allow_infinity=False)
_typed = st.just("") | st.builds(
    lambda name, value: f"{name},{'' if value is None else repr(value)}", st.sampled_from(["cart", "a" * 32]), _values
)
_entries = st.builds(
    EntryFields,
    sequence=st.integers(1, 2**53),
    timestamp=st.floats(allow_nan=False, allow_infinity=False),
    item_id=_texts,
    event_id=st.just("") | _texts,
    append_id=st.builds(lambda time, number: f"{time}-{number}", _milliseconds, st.integers(0, 2**40)),
    arrived=_milliseconds,
    typed=_typed,
    recommendation_id=st.just("") | _texts,
    credit=st.just(""),
)


def _credited(fields: EntryFields) -> EntryFields:
    return fields._replace(credit="c1 p:0:v:1" if fields.recommendation_id else "")


@pytest.fixture(scope="module")
def client(shared_redis: RedisServer) -> Any:
    with Redis(port=shared_redis.port) as client:
        yield client


@given(_entries.flatmap(lambda fields: st.sampled_from([fields, _credited(fields)])))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_python_and_lua_read_the_entry_that_lua_writes(client: Any, fields: EntryFields) -> None:
    entry = pack_entry(client, "key", fields)
    assert unpack_entry(client, "key", entry) == fields
    event_id = fields.event_id or f"seq-{fields.sequence}"
    event_type, _, value = fields.typed.partition(",")
    extras = event_type, float(value) if value else None, fields.recommendation_id
    expected = Event(fields.sequence, fields.item_id, fields.timestamp, event_id, *extras)
    assert decode_events([entry]) == ((expected,), fields.append_id)


@given(_entries)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrival_without_its_own_field_is_the_time_of_the_append(client: Any, fields: EntryFields) -> None:
    entry = pack_entry(client, "key", fields, same_arrival=True)
    assert unpack_entry(client, "key", entry).arrived == int(fields.append_id.split("-")[0])
    if not (fields.typed or fields.recommendation_id):  # as releases without types write it
        ids = (fields.item_id.encode(), fields.event_id.encode())
        header = struct.pack("<BddHH", 1, fields.sequence, fields.timestamp, *map(len, ids))
        assert entry == header + b"".join(ids) + fields.append_id.encode()
    assert decode_events([entry])[1] == fields.append_id


def test_decode_events_skips_events_up_to_the_snapshot(client: Any) -> None:
    entries = [pack_entry(client, "key", EntryFields(n, 1.5, "a", "", "7-0", 7)) for n in (2, 4, 5)]
    assert [event.sequence for event in decode_events(entries, 3)[0]] == [4, 5]
    assert [event.sequence for event in decode_events(entries, 4)[0]] == [5]


@pytest.mark.parametrize("first_byte", [b"\0", b"\2", b"\xff"])
def test_entry_of_another_format_is_refused(client: Any, first_byte: bytes) -> None:
    entry = pack_entry(client, "key", EntryFields(1, 1.5, "a", "", "7-0", 7))
    with pytest.raises(StoreUnavailable) as refused:
        decode_events([entry, first_byte + entry[1:]])
    assert refused.value.for_log == (
        f"an entry of an event log has format {first_byte[0]}, which this release cannot read;"
        " run the release that wrote it"
    )
