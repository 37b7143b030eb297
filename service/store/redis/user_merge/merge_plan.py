"""The merged log of two users, computed from both logs.

Redis runs nothing else during a script, so the sorting is done here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from service.store.errors import unknown_format
from service.store.redis.layout import ENTRY_FORMAT, decode_end

_HEADER = struct.Struct("<BddHH")
_FINGERPRINT = slice(1, 17)  # of the value of a field e:<event id>
_random = Random()  # noqa: S311 - ids must be unique, not secret


class LogEntry(NamedTuple):
    """Entry of a log, with its field `e:<event id>`; see layout.py."""

    sequence: int
    timestamp: float
    item_id: bytes
    event_id: bytes
    append_id: bytes
    arrived: int
    id_value: bytes
    typed: bytes
    recommendation: bytes


@dataclass(frozen=True, slots=True)
class TargetLog:
    """Log of the user who gets the events, as it was read.

    Attributes:
        head: The field `head`, b"" for an unknown user.
        merges: The field `merges`, or b"".
        unstreamed: Whether the shard's stream lacks an earlier merge.
        applied: The source's sequence up to which its log was applied before.
        sequence: The newest sequence.
        trimmed: The newest sequence that retention has removed.
        stored: The entries as they are stored.
        entries: The same entries, decoded.
    """

    head: bytes
    merges: bytes
    unstreamed: bool
    applied: int
    sequence: int
    trimmed: int
    stored: Sequence[bytes]
    entries: Sequence[LogEntry]


@dataclass(frozen=True, slots=True)
class MergePlan:
    """The merged log.

    Attributes:
        entries: Entries to store, oldest first.
        fields: For each entry the name and the value of its field `e:<event id>`, if it has an id; for the first
            entry with a type also those of the field `t`.
        sequence: The newest sequence.
        trimmed: The newest sequence that retention has removed.
        moved: Number of events that the user did not have.
        duplicates: Number of events that the user had.
        conflicts: Number of events whose event id is that of another event of the user.
    """

    entries: Sequence[bytes]
    fields: Sequence[tuple[bytes, ...]]
    sequence: int
    trimmed: int
    moved: int
    duplicates: int
    conflicts: int


def decode_entries(entries: Sequence[bytes], id_values: Sequence[bytes | None]) -> list[LogEntry]:
    """Decode entries; raises `StoreUnavailable` for an unknown format."""
    return [_decode(entry, value or b"") for entry, value in zip(entries, id_values, strict=True)]


def plan_merge(own: TargetLog, theirs: Sequence[LogEntry], events_kept: int) -> MergePlan:
    """Insert the other user's events into a log by timestamp.

    From the first displaced event on, events get new sequences (decision 0050). An event's arrival time is at most
    that of the events behind it, so that retention by age removes the oldest first.
    """
    taken = {entry.event_id: entry.id_value[_FINGERPRINT] for entry in own.entries if entry.event_id}
    new = [entry for entry in theirs if entry.sequence > own.applied]
    known = [entry for entry in new if entry.event_id in taken]
    moved = [entry._replace(append_id=_unstreamed_id()) for entry in new if entry.event_id not in taken]
    duplicates = sum(taken[entry.event_id] == entry.id_value[_FINGERPRINT] for entry in known)
    merged = sorted([*own.entries, *moved], key=lambda entry: entry.timestamp)
    pairs = enumerate(zip(merged, own.entries, strict=False))
    unmoved = next((n for n, (entry, mine) in pairs if entry is not mine), len(own.entries))
    removed = max(0, len(merged) - events_kept)
    sequences = [entry.sequence for entry in merged[:unmoved]]
    sequences += range(own.sequence + 1, own.sequence + 1 + len(merged) - unmoved)
    arrivals = _ascending([entry.arrived for entry in merged])
    kept = list(zip(merged, sequences, arrivals, strict=True))[removed:]
    fields = [_field(entry, sequence) for entry, sequence, _ in kept]
    typed_from = next((n for n, (entry, _, _) in enumerate(kept) if entry.typed.partition(b",")[0]), None)
    if typed_from is not None:
        fields[typed_from] += (b"t", b"%d" % kept[typed_from][1])
    return MergePlan(
        entries=[_encode(entry, sequence, arrived) for entry, sequence, arrived in kept],
        fields=fields,
        sequence=own.sequence + len(merged) - unmoved,
        trimmed=sequences[removed - 1] if removed else own.trimmed,
        moved=len(moved),
        duplicates=duplicates,
        conflicts=len(known) - duplicates,
    )


def _unstreamed_id() -> bytes:
    """Return an append id that no entry of a stream has."""
    return b"0-%d" % _random.randrange(1, 1 << 63)


def _ascending(arrivals: list[int]) -> list[int]:
    ascending = arrivals[-1:]
    for arrived in reversed(arrivals[:-1]):
        ascending.append(min(arrived, ascending[-1]))
    return ascending[::-1]


def _decode(entry: bytes, id_value: bytes) -> LogEntry:
    found, sequence, timestamp, item_size, id_size = _HEADER.unpack_from(entry)
    if found != ENTRY_FORMAT:
        raise unknown_format(f"an entry of an event log has format {found}")
    if id_value and id_value[0] != ENTRY_FORMAT:
        raise unknown_format(f"an event id has format {id_value[0]}")
    item_end = _HEADER.size + item_size
    id_end = item_end + id_size
    append_id, typed, arrived, recommendation = decode_end(entry[id_end:])
    return LogEntry(
        int(sequence),
        timestamp,
        entry[_HEADER.size : item_end],
        entry[item_end:id_end],
        append_id,
        int(arrived or append_id.partition(b"-")[0]),
        id_value,
        typed,
        recommendation,
    )


def _encode(entry: LogEntry, sequence: int, arrived: int) -> bytes:
    header = _HEADER.pack(ENTRY_FORMAT, sequence, entry.timestamp, len(entry.item_id), len(entry.event_id))
    typed = b"\0" + entry.typed if entry.typed else b""
    arrived_then = int(entry.append_id.partition(b"-")[0]) == arrived
    end = b"" if arrived_then and not entry.recommendation else b"@%d" % arrived
    if entry.recommendation:
        end += b"\0" + entry.recommendation
    return b"".join((header, entry.item_id, entry.event_id, entry.append_id, typed, end))


def _field(entry: LogEntry, sequence: int) -> tuple[bytes, ...]:
    if not entry.event_id:
        return ()
    return b"e:" + entry.event_id, entry.id_value[:17] + b"%d" % sequence
