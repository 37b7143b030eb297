"""The functions of scripts/lib, called from Python."""

from __future__ import annotations

from typing import Any, NamedTuple

from service.store.redis.lua_scripts import Script

# A number travels as text: Redis cuts the numbers of a reply to integers.
_PACK = (
    Script("lib/format.lua", "lib/pack_entry.lua").source
    + """
return pack_entry(tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5])
"""
)
_UNPACK = (
    Script("lib/format.lua", "lib/unpack_entry.lua").source
    + """
local sequence, timestamp, item_id, event_id, append_id, arrived = unpack_entry(ARGV[1])
assert(sequence_of(ARGV[1]) == sequence and append_id_of(ARGV[1]) == append_id)
return { sequence, string.format('%.17g', timestamp), item_id, event_id, append_id, arrived }
"""
)


class EntryFields(NamedTuple):
    sequence: int
    timestamp: float
    item_id: str
    event_id: str
    append_id: str
    arrived: int


def pack_entry(client: Any, key: str, fields: EntryFields, append_id: str) -> bytes:
    """The entry as Lua writes it, on the server that has `key`.

    `append_id` may be followed by an arrival time, as it is in a log.
    """
    sequence, timestamp, item_id, event_id, *_ = fields
    packed: bytes = client.eval(_PACK, 1, key, sequence, repr(timestamp), item_id, event_id, append_id)
    return packed


def unpack_entry(client: Any, key: str, entry: bytes) -> EntryFields:
    """The entry as Lua reads it, on the server of `key`."""
    sequence, timestamp, item_id, event_id, append_id, arrived = client.eval(_UNPACK, 1, key, entry)
    return EntryFields(sequence, float(timestamp), item_id.decode(), event_id.decode(), append_id.decode(), arrived)
