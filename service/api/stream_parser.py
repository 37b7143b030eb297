"""Parsers of stream entries.

An entry follows the same rules as a request body: an event that of `POST /v1/events`, an item one of
`POST /v1/items/batch`.
"""

from __future__ import annotations

import json
import re

from service.api.schemas.catalogue_requests import change_or_error
from service.api.schemas.requests import EventIn, event_or_error
from service.core.catalogue.editing.item_changes import ItemChange
from service.core.catalogue.editing.item_editor import EditMode, ItemEdit
from service.core.errors import InvalidRequest
from service.core.events import NewEvent
from service.core.jobs.streams.stream_source import StreamEntry

MAX_ITEM_BYTES = 64 << 10  # the largest item has a vector of 1,024 numbers
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_SIGNED_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?")


class EventEntryParser:
    """Parser of the entries of a stream of events."""

    def __init__(self, stream: str) -> None:
        self._stream = stream

    def parse(self, entry: StreamEntry) -> tuple[str, NewEvent]:
        """Return the user id and the event of an entry; raise `InvalidRequest`.

        An entry without `event_id` gets one from the stream's name and the entry's id, so that an entry that is
        delivered twice is stored once. An entry without `timestamp` gets the time at which it entered the stream.
        """
        values: dict[str, object] = dict(_fields(entry))
        timestamp = values.get("timestamp")
        if isinstance(timestamp, str) and _NUMBER.fullmatch(timestamp):
            values["timestamp"] = float(timestamp)
        value = values.get("value")
        if isinstance(value, str) and _SIGNED_NUMBER.fullmatch(value):
            values["value"] = float(value)
        event = event_or_error(values)
        if not isinstance(event, EventIn):
            raise event
        event_id = event.event_id or f"stream:{self._stream}:{entry.entry_id}"
        entered_at = int(entry.entry_id.partition("-")[0]) / 1000  # entry ids begin with Unix milliseconds
        return event.user_id, event.new_event(event_id, entered_at)


class ItemEntryParser:
    """Parser of the entries of a stream of items."""

    def parse(self, entry: StreamEntry) -> ItemEdit:
        """Return the change of an entry; raise `InvalidRequest`.

        The field `item` is a JSON object. The field `mode` is put (the default), patch or delete.
        """
        if len(entry.fields.get(b"item", b"")) > MAX_ITEM_BYTES:
            raise _refused("item", f"has more than {MAX_ITEM_BYTES} bytes")
        values = _fields(entry)
        mode = values.pop("mode", EditMode.PUT)
        if mode not in set(EditMode):
            raise _refused("mode", "must be put, patch or delete")
        if values.keys() != {"item"}:
            wrong = next((name for name in values if name != "item"), None)
            raise _refused("item", "is required") if wrong is None else _refused(wrong[:64], "is not a known field")
        try:
            found = json.loads(values["item"])
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _refused("item", "must be a JSON object")
        change = change_or_error(found)
        if not isinstance(change, ItemChange):
            raise change
        if mode == EditMode.DELETE and (change.fields or change.attributes):
            raise _refused("item", "must hold item_id alone, to be deleted")
        return ItemEdit(change, EditMode(mode))


def _fields(entry: StreamEntry) -> dict[str, str]:
    try:
        return {name.decode(): value.decode() for name, value in entry.fields.items()}
    except UnicodeDecodeError:
        raise InvalidRequest("the fields of an entry must be UTF-8") from None


def _refused(field: str, problem: str) -> InvalidRequest:
    return InvalidRequest("this entry does not follow the contract", details=[{"field": field, "problem": problem}])
