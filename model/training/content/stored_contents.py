"""Content of the items in a service's catalogue, read from its store."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from ingest.errors import DataError
from model.content.item_content import ItemContent
from model.training.data.event_log import ItemRecord, open_log

_FORMAT = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_stored_contents(state_url: str) -> dict[str, ItemContent]:
    """Read the catalogue beside the event log at a state URL.

    Deleted items are left out.

    Raises:
        DataError: the store cannot be read, or another release wrote the items.
    """
    contents: dict[str, ItemContent] = {}
    with open_log(state_url) as log:
        for record in log.items():
            content = parse_record(record)
            contents.pop(record.item_id, None)
            if content is not None:
                contents[record.item_id] = content
    return contents


def parse_record(record: ItemRecord) -> ItemContent | None:
    """Parse an item's record, None if the item is deleted."""
    found = json.loads(record.record)
    if found["format"] != _FORMAT:
        raise DataError(f"an item's record has format {found['format']}, but this release reads {_FORMAT}")
    if found["deleted"]:
        return None
    vector = None if found["vector"] is None else np.frombuffer(b64decode(found["vector"]), "<f4")
    attributes = {name: _value(value) for name, value in found["attributes"].items()}
    return ItemContent(found["title"], tuple(found["categories"]), attributes, vector)


def _value(value: Any) -> Any:  # noqa: ANN401 - a value of JSON
    if isinstance(value, dict):
        return _EPOCH + timedelta(microseconds=value["time"])
    return tuple(value) if isinstance(value, list) else value
