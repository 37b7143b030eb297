"""Layout of a log entry, and its reader in Python.

    byte      format, 1
    double    sequence
    double    timestamp, in Unix seconds
    uint16    size of the item id in bytes
    uint16    size of the event id in bytes; 0 if the client gave none
              item id, event id, both UTF-8
              append id: the id of the event's stream entry, "<milliseconds>-<number>"
              "@<milliseconds>" if the event arrived at another time than the append id says, as merged events did

All numbers are little-endian. The sequence is a double because numbers in Lua are.
scripts/lib/entry.lua writes and reads the same layout in Lua.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from service.core.events import Event
from service.store.errors import unknown_format

FORMAT = 1
_HEADER = struct.Struct("<BddHH")


def decode_events(entries: Sequence[bytes], applied: int = 0) -> tuple[Event, ...]:
    """Return the events with a sequence above `applied`.

    Raises `StoreUnavailable` if an entry has an unknown format.
    """
    events = []
    for entry in entries:
        found, number, timestamp, item_size, id_size = _HEADER.unpack_from(entry)
        if found != FORMAT:
            raise unknown_format(f"an entry of an event log has format {found}")
        sequence = int(number)
        if sequence <= applied:
            continue
        item_end = _HEADER.size + item_size
        item_id = entry[_HEADER.size : item_end].decode()
        event_id = entry[item_end : item_end + id_size].decode() if id_size else f"seq-{sequence}"
        events.append(Event(sequence, item_id, timestamp, event_id))
    return tuple(events)


def append_id(entry: bytes) -> str:
    """Return the id of the event's append.

    Unlike a sequence, it is never given to another append, not even after a failover (decision 0071).
    """
    _, _, _, item_size, id_size = _HEADER.unpack_from(entry)
    return entry[_HEADER.size + item_size + id_size :].decode().partition("@")[0]
