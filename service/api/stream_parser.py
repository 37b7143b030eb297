"""Parser of stream entries.

An entry follows the same rules as the body of `POST /v1/events`.
"""

from __future__ import annotations

import re

from service.api.schemas.requests import EventIn, event_or_error
from service.core.errors import InvalidRequest
from service.core.events import NewEvent
from service.core.jobs.event_source import StreamEntry

_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


class StreamParser:
    """Parser of the entries of one stream."""

    def __init__(self, stream: str) -> None:
        self._stream = stream

    def parse(self, entry: StreamEntry) -> tuple[str, NewEvent]:
        """Return the user id and the event of an entry; raise `InvalidRequest`.

        An entry without `event_id` gets one from the stream's name and the entry's id, so that an entry that is
        delivered twice is stored once. An entry without `timestamp` gets the time at which it entered the stream.
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
        event_id = event.event_id or f"stream:{self._stream}:{entry.entry_id}"
        entered_at = int(entry.entry_id.partition("-")[0]) / 1000  # entry ids begin with Unix milliseconds
        return event.user_id, NewEvent.create(event.item_id, event.timestamp, event_id, entered_at)
