"""How the Redis store lays out its keys and entries, and the scripts that write them.

The keys of one user and the stream of the shard it belongs to share a hash tag, so that a script touches one slot:

    {12}:user:<id>  hash: gen, seq, trimmed; `e:<event_id>` -> "sequence fingerprint" for each kept event with an id;
                    `a:<version>` and `m:<version>`, a memo's cursor and bytes; `v`, the versions of the memos;
                    `merged`, what is known of users that were merged into this one: see merge.lua
    {12}:log:<id>   list of the kept events, packed: see visit.lua
    {12}:stream     the kept events of all users of the shard; it holds exactly what their logs hold
    {12}:moving     hash: the logs of users of the shard that are on their way into others, by user: see park.lua
    {12}:pass:<digest of id>  a token under which those may be brought to the user, for seconds: see redis_merges.py
    {12}:deletions  how often the log was changed other than by appending and retention; it names nobody

One key is no user's: `{notes}:notes`, a hash of what the processes tell each other (which model is live).

The stream (fields user, seq, item, ts, event_id) and the count of deletions are an interface: an export reads the
stream from where it stopped, and from the beginning when the count has changed (model/training/data/event_log.py).
"""

from __future__ import annotations

import struct
import zlib
from hashlib import sha1
from importlib import resources
from typing import Any

from service.core.events import Appended, Conflict, Event, LogView

SHARDS = 64  # part of the stored format: another number would look for users under other keys

_ENTRY = struct.Struct("<ddHH")  # sequence, timestamp, sizes of item id and event id; see visit.lua
_DUPLICATE, _CONFLICT = 1, 2


class Script:
    """A Lua script, of one or several files, and the digest by which Redis knows it."""

    def __init__(self, *files: str) -> None:
        folder = resources.files("service.store.redis") / "scripts"
        self.source = "\n".join(folder.joinpath(file).read_text("utf-8") for file in files)
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


APPEND_AND_READ = Script("lib/entry.lua", "lib/binary_search.lua", "lib/retention.lua", "append_and_read.lua")
PUT_SNAPSHOT = Script("lib/entry.lua", "lib/binary_search.lua", "lib/find_sequence.lua", "put_snapshot.lua")
HISTORY = Script("lib/binary_search.lua", "lib/find_sequence.lua", "history.lua")
DELETE_EVENT = Script("lib/entry.lua", "lib/binary_search.lua", "lib/find_sequence.lua", "delete_event.lua")
DELETE_USER = Script("lib/entry.lua", "user_merge/pending.lua", "delete_user.lua")
EXPIRE = Script("lib/entry.lua", "lib/binary_search.lua", "lib/retention.lua", "user_merge/pending.lua", "expire.lua")
DETACH = Script("lib/entry.lua", "user_merge/pending.lua", "user_merge/detach.lua")
APPLY = Script("lib/entry.lua", "user_merge/apply.lua")
GRANT_TOKEN = Script("user_merge/grant_token.lua")
REVOKE_TOKEN = Script("user_merge/revoke_token.lua")
DISCARD = Script("user_merge/discard.lua")
FINALIZE = Script("user_merge/finalize.lua")
LIST_DETACHED = Script("user_merge/list_detached.lua")
RECORDS = Script("records.lua")
COMPARE_AND_SET = Script("compare_and_set.lua")
SCRIPTS = (
    *(APPEND_AND_READ, PUT_SNAPSHOT, HISTORY, DELETE_EVENT, DELETE_USER, RECORDS, COMPARE_AND_SET),
    *(EXPIRE, DETACH, GRANT_TOKEN, REVOKE_TOKEN, APPLY, DISCARD, FINALIZE, LIST_DETACHED),
)

RECORDS_KEY = "{notes}:notes"
USERS = "{*}:user:*"  # may match a log whose user's id looks like this: `user_of` knows
TAGS = (*(f"{{{shard}}}" for shard in range(SHARDS)), "{notes}")  # all that decides on a key's slot in a cluster


def keys(user_id: str) -> tuple[str, str, str]:
    """The keys of the user's hash, its log and its shard's stream."""
    tag = TAGS[zlib.crc32(user_id.encode()) % SHARDS]
    return f"{tag}:user:{user_id}", f"{tag}:log:{user_id}", f"{tag}:stream"


def user_of(key: bytes) -> str | None:
    """Whose hash this is; None for another key."""
    user_id = key.decode().split(":", 2)[-1]
    return user_id if keys(user_id)[0].encode() == key else None


def deletions_key(user_id: str) -> str:
    """The key of the count of deletions in the user's shard."""
    return keys(user_id)[2].removesuffix("stream") + "deletions"


def moving_key(user_id: str) -> str:
    """The key of the parked logs of the user's shard."""
    return keys(user_id)[2].removesuffix("stream") + "moving"


def pass_key(user_id: str) -> str:
    """The key of the pass under which parked logs are brought to the user; it names nobody."""
    digest = sha1(user_id.encode(), usedforsecurity=False).hexdigest()
    return keys(user_id)[2].removesuffix("stream") + f"pass:{digest}"


def moving_keys() -> list[str]:
    """The keys of the parked logs of all shards."""
    return [f"{tag}:moving" for tag in TAGS[:SHARDS]]


def view(reply: list[Any]) -> LogView:
    """What visit.lua answered."""
    generation, sequence, trimmed, snapshot, applied, entries, outcomes = reply
    return LogView(
        "" if generation is None else generation.decode(),
        sequence,
        trimmed,
        snapshot,
        events_after(entries, applied),
        tuple(
            Conflict(first) if kind == _CONFLICT else Appended(first, kind == _DUPLICATE) for first, kind in outcomes
        ),
        _append_of(entries[-1]) if entries else "",
    )


def _append_of(entry: bytes) -> str:
    """The stream's id, given once: it names this append, whoever gets its sequence after a failover."""
    _, _, item_size, id_size = _ENTRY.unpack_from(entry)
    return entry[_ENTRY.size + item_size + id_size :].decode().partition("@")[0]


def events_after(entries: list[bytes], applied: int) -> tuple[Event, ...]:
    """The events after `applied` among `entries`, which are in order."""
    found = []
    for entry in entries:
        number, timestamp, item_size, id_size = _ENTRY.unpack_from(entry)
        sequence = int(number)
        if sequence <= applied:
            continue
        item_end = _ENTRY.size + item_size
        item_id = entry[_ENTRY.size : item_end].decode()
        event_id = entry[item_end : item_end + id_size].decode() if id_size else f"seq-{sequence}"
        found.append(Event(sequence, item_id, timestamp, event_id))
    return tuple(found)
