"""The functions of scripts/lib, called from Python."""

from __future__ import annotations

from typing import Any, NamedTuple

from service.store.redis.lua_scripts import Script

# A number travels as text: Redis cuts the numbers of a reply to integers.
_PACK = (
    Script("lib/format.lua", "lib/pack_entry.lua", "lib/typed/typed_event.lua").source
    + """
local append_id = pack_end(ARGV[5], ARGV[6] ~= '' and ARGV[6] or nil, ARGV[7], ARGV[8])
return pack_entry(tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], append_id)
"""
)
_UNPACK = (
    Script("lib/format.lua", "lib/unpack_entry.lua").source
    + """
local sequence, timestamp, item_id, event_id, append_id, arrived, typed, recommendation = unpack_entry(ARGV[1])
assert(sequence_of(ARGV[1]) == sequence and append_id_of(ARGV[1]) == append_id)
return { sequence, string.format('%.17g', timestamp), item_id, event_id, append_id, arrived, typed, recommendation }
"""
)


class EntryFields(NamedTuple):
    """Fields of an entry; `typed` is "<type>,<value>" or ""."""

    sequence: int
    timestamp: float
    item_id: str
    event_id: str
    append_id: str
    arrived: int
    typed: str = ""
    recommendation_id: str = ""
    credit: str = ""


def pack_entry(client: Any, key: str, fields: EntryFields, *, same_arrival: bool = False) -> bytes:
    """The entry as Lua writes it, on the server that has `key`.

    With `same_arrival` the append id alone says when the event arrived.
    """
    sequence, timestamp, item_id, event_id, append_id, arrived, typed, recommendation_id, credit = fields
    extras = typed, f"{credit}\0{recommendation_id}" if recommendation_id else ""
    times = "" if same_arrival else str(arrived)
    packed: bytes = client.eval(
        _PACK, 1, key, sequence, repr(timestamp), item_id, event_id, append_id, times, *extras
    )
    return packed


def unpack_entry(client: Any, key: str, entry: bytes) -> EntryFields:
    """The entry as Lua reads it, on the server of `key`."""
    sequence, timestamp, *texts, arrived, typed, recommendation = client.eval(_UNPACK, 1, key, entry)
    credit, _, recommendation_id = recommendation.decode().partition("\0")
    item_id, event_id, append_id = (text.decode() for text in texts)
    return EntryFields(
        *(sequence, float(timestamp), item_id, event_id, append_id, arrived),
        *(typed.decode(), recommendation_id, credit),
    )
