"""Keys of the event log in Redis, and the values under them.

The keys of one user and the stream of the user's shard share a hash tag, so that a script touches one slot:

    {12}:user:<id>         hash of a user:
        head               format byte, newest sequence and newest sequence that retention removed (two doubles,
                           little-endian), generation. A user without a head does not exist
        e:<event_id>       for each kept event with an id: format byte, fingerprint (16 characters), sequence (digits)
        a:<version>        sequence of this model version's snapshot (digits)
        s:<version>        the snapshot, whose first byte is its format: core/recommending/log_replay/snapshots.py
        v                  record: the model versions that have a snapshot, the one first written last in front
        merges             record: the merges into this user: scripts/user_merge/merge_records.lua
        unstreamed         after a merge: the sequence from which on the shard's stream is not up to date (digits)
        t                  sequence of the first event with a type (digits), also if that event is gone; else absent
    {12}:log:<id>          list of the kept events, oldest first, one entry each
    {12}:stream            stream of the kept events of all users of the shard, in order of arrival; fields format,
                           user, seq, item, ts, event_id ("" if the client gave none), and those of type, value,
                           recommendation and credit that the event has. It holds what the logs hold
    {12}:detached          hash by user: record of a log that is being merged into another: merge_records.lua
    {12}:detached-user:<digest>, {12}:detached-log:<digest>
                           the user's hash and log meanwhile; a digest is the SHA-1 of the user's id
    {12}:token:<digest>    merge token of a user, for minutes: merge_protocol.py
    {12}:staged-user:<token>, {12}:staged-log:<token>
                           hash and log that a merge is to give a user, for a minute
    {12}:replaced-user:<digest>, {12}:replaced-log:<digest>
                           what the user had before, until the shard's stream is up to date
    {12}:attribution       hash by name: counters of what recommendations earned: core/attribution/credits.py
    {12}:deletions         counter of all changes of the shard's logs other than appends and retention
    {records}:records      hash of the records that the workers share, as JSON: core/rollout, core/jobs

The catalogue has shards of its own, with a stream of changes each:

    {c5}:items             hash by item id: format byte, revision (double, little-endian), record of core/catalogue
    {c5}:changes           stream of the newest changes of the shard's items. The id is "<revision>-0"; fields format,
                           token (a random word that tells this change from another of the same revision, which a
                           failover may have undone), name (the item id)
    {catalogue}:definitions  hash: a:<name> for a declared attribute, f:<name> for a named filter; format byte, text
    {catalogue}:changes    stream of their newest changes, as above

The vectors of new items (core/new_items) are in shards by model version:

    {v3}:vectors:<version>  hash by item id: format byte, number (double, little-endian), token (16 characters, as of
                           the catalogue's changes), vector (float32, little-endian)
    {v3}:vector-order:<version>  list of these item ids; that of number n is the n-th
    {v3}:vector-versions   hash of the model versions of the shard that have such a list, by version: format

The first byte of every value that has a structure is its format, 1 today, but 2 of a detached log's record. In the
stream it is the field `format`, and the JSON texts have a format of their own. A "record" is a format byte and an
array in MessagePack. Counters, tokens, `a:<version>` and `unstreamed` are single numbers or opaque words.

Each reader refuses a format that it does not know (decision 0087). A release that changes any value of a user must
also change the format of the user's `head`, because scripts that change events read that before they write.

The stream and the counter of deletions are an interface: an export reads the stream from where it stopped, and from
the start when the counter has changed (model/training/data/event_log/).

An entry of a log:

    byte      format, 1
    double    sequence
    double    timestamp, in Unix seconds
    uint16    size of the item id in bytes
    uint16    size of the event id in bytes; 0 if the client gave none
              item id, event id, both UTF-8
              append id: the id of the event's stream entry, "<milliseconds>-<number>"; of an event that a merge has
              moved, until it is in the stream, "0-<random number>"
              if it has a type or a value: a zero byte, type ("" for a view), ",", the value in digits ("" for none)
              "@<milliseconds>" if the event arrived at another time than the append id says, as merged events did,
              or has a recommendation id; then a zero byte, the credit or nothing, a zero byte, and the id in UTF-8

All numbers are little-endian. The sequence is a double because numbers in Lua are.
scripts/lib/pack_entry.lua, typed_event.lua and unpack_entry.lua write and read the same layout in Lua.
Releases without types read all entries (decision 0123): Redis and Lua end a number at a zero byte.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from hashlib import sha1
from random import Random
from typing import NamedTuple

from service.core.catalogue_store import CATALOGUE_SHARDS
from service.core.events import Event, NewEvent
from service.store.errors import unknown_format

SHARDS = 64  # part of the stored format: with another number, users would be looked for under other keys

RECORDS_KEY = "{records}:records"
USERS_PATTERN = "{*}:user:*"  # also matches the log of a user whose id looks like this; see `user_of`
_SHARD_TAGS = tuple(f"{{{shard}}}" for shard in range(SHARDS))
_CATALOGUE_TAGS = tuple(f"{{c{shard}}}" for shard in range(CATALOGUE_SHARDS))
_VECTOR_SHARDS = 4  # part of the stored format
_VECTOR_TAGS = tuple(f"{{v{shard}}}" for shard in range(_VECTOR_SHARDS))
VECTOR_VERSIONS_KEYS = tuple(f"{tag}:vector-versions" for tag in _VECTOR_TAGS)
DEFINITION_KEYS = ("{catalogue}:definitions", "{catalogue}:changes")
# In a cluster the tag alone decides on a key's slot.
HASH_TAGS = (*_SHARD_TAGS, *_CATALOGUE_TAGS, *_VECTOR_TAGS, "{records}", "{catalogue}")

ENTRY_FORMAT = 1
_ENTRY_HEADER = struct.Struct("<BddHH")


class EntryEnd(NamedTuple):
    """End of a log's entry.

    Each part but the append id may be empty. `typed` is "<type>,<value>", `arrived` is in milliseconds.
    """

    append_id: bytes
    typed: bytes
    arrived: bytes
    recommendation: bytes


_tokens = Random()  # noqa: S311 - not the module's shared generator, which others may seed


def keys(user_id: str) -> tuple[str, str, str]:
    """Return the keys of the user's hash, log and shard stream."""
    tag = _SHARD_TAGS[zlib.crc32(user_id.encode()) % SHARDS]
    return f"{tag}:user:{user_id}", f"{tag}:log:{user_id}", f"{tag}:stream"


def _tag(user_id: str) -> str:
    return keys(user_id)[2].removesuffix(":stream")


def user_of(key: bytes) -> str | None:
    """Return the user whose hash has this key, or None."""
    user_id = key.decode().split(":", 2)[-1]
    return user_id if keys(user_id)[0].encode() == key else None


def deletions_key(user_id: str) -> str:
    """Return the key of the counter of deletions in the user's shard."""
    return f"{_tag(user_id)}:deletions"


def detached_key(user_id: str) -> str:
    """Return the key of the detached logs of the user's shard."""
    return f"{_tag(user_id)}:detached"


def detached_keys() -> list[str]:
    """Return the keys of the detached logs of all shards."""
    return [f"{tag}:detached" for tag in _SHARD_TAGS]


def detached_log_keys(user_id: str) -> tuple[str, str]:
    """Return the keys of the user's detached hash and log.

    Like the other keys of a merge they do not name the user.
    """
    return _digest_key(user_id, "detached-user"), _digest_key(user_id, "detached-log")


def staged_keys(user_id: str, token: str) -> tuple[str, str]:
    """Return the keys of a merged hash and log in preparation."""
    return f"{_tag(user_id)}:staged-user:{token}", f"{_tag(user_id)}:staged-log:{token}"


def replaced_keys(user_id: str) -> tuple[str, str]:
    """Return the keys of the hash and log before a merge."""
    return _digest_key(user_id, "replaced-user"), _digest_key(user_id, "replaced-log")


def token_key(user_id: str) -> str:
    """Return the key of the user's merge token.

    It does not name the user, because a token may outlive its user by minutes.
    """
    return _digest_key(user_id, "token")


def _digest_key(user_id: str, name: str) -> str:
    digest = sha1(user_id.encode(), usedforsecurity=False).hexdigest()
    return f"{_tag(user_id)}:{name}:{digest}"


def catalogue_keys(shard: int) -> tuple[str, str]:
    """Return the keys of a catalogue shard's items and changes."""
    tag = _CATALOGUE_TAGS[shard]
    return f"{tag}:items", f"{tag}:changes"


def vector_keys(version: str) -> tuple[str, str, str]:
    """Return the keys of a model version's vectors."""
    tag = _VECTOR_TAGS[zlib.crc32(version.encode()) % _VECTOR_SHARDS]
    return f"{tag}:vectors:{version}", f"{tag}:vector-order:{version}", f"{tag}:vector-versions"


def new_token() -> str:
    """Return a random generation or token. It must be unique, not secret."""
    return f"{_tokens.getrandbits(64):016x}"


def encode_extras(event: NewEvent) -> str:
    """Return what follows a fingerprint in append_and_read.lua's arguments."""
    typed = ""
    if event.type or event.value is not None:
        typed = f"\0{event.type},{'' if event.value is None else repr(event.value)}"
    return f"{typed}@{event.credit}\0{event.recommendation_id}" if event.recommendation_id else typed


def decode_end(end: bytes) -> EntryEnd:
    """Split the end of an entry, from its append id on."""
    head, _, tail = end.partition(b"@")
    append_id, _, typed = head.partition(b"\0")
    arrived, _, recommendation = tail.partition(b"\0")
    return EntryEnd(append_id, typed, arrived, recommendation)


def _with_extras(event: Event, end: EntryEnd) -> Event:
    event_type, _, value = end.typed.decode().partition(",")
    number = float(value) if value else None
    recommendation_id = end.recommendation.decode().partition("\0")[2]
    return event._replace(type=event_type, value=number, recommendation_id=recommendation_id)


def decode_events(entries: Sequence[bytes], applied: int = 0) -> tuple[tuple[Event, ...], str]:
    """Return the events above `applied`, and the newest append id.

    Unlike a sequence, an append id is never given to another append, not even after a failover (decision 0071).
    It is "" if there is no entry. Raises `StoreUnavailable` if an entry has an unknown format.
    """
    events: list[Event] = []
    id_end = 0
    for entry in entries:
        found, number, timestamp, item_size, id_size = _ENTRY_HEADER.unpack_from(entry)
        if found != ENTRY_FORMAT:
            raise unknown_format(f"an entry of an event log has format {found}")
        sequence = int(number)
        item_end = _ENTRY_HEADER.size + item_size
        id_end = item_end + id_size
        if sequence > applied:
            item_id = entry[_ENTRY_HEADER.size : item_end].decode()
            event_id = entry[item_end:id_end].decode() if id_size else f"seq-{sequence}"
            event = Event(sequence, item_id, timestamp, event_id)
            events.append(event if entry.find(0, id_end) < 0 else _with_extras(event, decode_end(entry[id_end:])))
    newest = entries[-1][id_end:].partition(b"@")[0].partition(b"\0")[0] if entries else b""
    return tuple(events), newest.decode()
