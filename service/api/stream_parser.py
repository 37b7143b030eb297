"""An entry of a stream as an event, by the same rules as a request's body."""

from __future__ import annotations

import re

from service.api.schemas.requests import EventIn, event_or_error
from service.core.errors import InvalidRequest
from service.core.events import NewEvent
from service.core.jobs.stream_consumer import StreamEntry

_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


def parse_entry(stream: str, entry: StreamEntry) -> tuple[str, NewEvent]:
    """The user and the event of an entry; raises `InvalidRequest`.

    Without an event_id it gets one made of the stream's name and the entry's id, so that the entry, should it come
    again, is known. Without a timestamp its time is when it entered the stream.
    """
    try:
        values: dict[str, object] = {name.decode(): value.decode() for name, value in entry.fields.items()}
    except UnicodeDecodeError:
        raise InvalidRequest("the fields of an entry must be UTF-8") from None
    timestamp = values.get("timestamp")
    if isinstance(timestamp, str) and _NUMBER.fullmatch(timestamp):
        values["timestamp"] = float(timestamp)
    event = event_or_error(values)
    if not isinstance(event, EventIn):
        raise event
    event_id = event.event_id or f"stream:{stream}:{entry.entry_id}"
    entered = int(entry.entry_id.partition("-")[0]) / 1000
    return event.user_id, NewEvent.create(event.item_id, event.timestamp, event_id, entered)
