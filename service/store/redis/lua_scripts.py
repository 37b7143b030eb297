"""The Lua scripts, assembled from the files in scripts/."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha1
from importlib import resources

_FOLDER = resources.files("service.store.redis") / "scripts"
_INCLUDE = re.compile(r"^ *-- include (\S+)$", re.MULTILINE)


@cache
def _read(file: str) -> str:
    return _FOLDER.joinpath(file).read_text("utf-8")


# Number of events that one run of a script takes from a long log.
PIECE = int(re.findall(r"^local PIECE = (\d+)$", _read("lib/pieces.lua"), re.MULTILINE)[0])


class Script:
    """A Lua script made of several files, with its digest.

    A line `-- include FILE` stands for the file.
    """

    def __init__(self, *files: str) -> None:
        self.source = _INCLUDE.sub(lambda line: _read(line[1]), "\n".join(map(_read, files)))
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


# A file may use what the files before it define.
_HEAD = ("lib/format.lua", "lib/head.lua")
_LIB = (*_HEAD, "lib/pack_entry.lua", "lib/unpack_entry.lua")
_SNAPSHOTS = ("lib/record.lua", "lib/snapshots.lua")
_MERGES = ("lib/record.lua", "user_merge/merge_records.lua")
_SEARCH, _RETENTION, _PIECES = "lib/binary_search.lua", "lib/retention.lua", "lib/pieces.lua"
_REPLICATE, _CREDIT = "lib/replicate.lua", "lib/typed/credit.lua"

APPEND_AND_READ = Script(*_HEAD, "lib/pack_entry.lua", "append_and_read.lua")
PUT_SNAPSHOT = Script(*_HEAD, "lib/unpack_entry.lua", "put_snapshot.lua")
HISTORY = Script(*_LIB, _SEARCH, _PIECES, "history.lua")
DELETE_EVENT = Script(
    *(*_LIB, "lib/event_id.lua", *_SNAPSHOTS, _REPLICATE, _SEARCH, _PIECES, _CREDIT),
    "delete_event.lua",
)
DELETE_USER = Script(*_LIB, *_MERGES, _REPLICATE, _SEARCH, _PIECES, _RETENTION, "delete_user.lua")
EXPIRE = Script(*_LIB, *_MERGES, _SEARCH, _PIECES, _RETENTION, "expire.lua")
READ_ATTRIBUTION = Script("read_attribution.lua")
RECORDS = Script("records.lua")
COMPARE_AND_SET = Script("compare_and_set.lua")
DETACH = Script(*_LIB, *_MERGES, _REPLICATE, _PIECES, "user_merge/detach.lua")
GRANT_TOKEN = Script("user_merge/tokens/grant.lua")
READ_DETACHED = Script(*_LIB, *_MERGES, _PIECES, "user_merge/read_detached.lua")
READ_TARGET = Script(*_LIB, *_MERGES, _PIECES, "user_merge/read_target.lua")
STAGE = Script("user_merge/stage.lua")
APPLY = Script(*_HEAD, *_MERGES, "user_merge/apply.lua")
FIND_MERGE = Script("lib/format.lua", *_MERGES, _REPLICATE, "user_merge/find_merge.lua")
STREAM_MOVED = Script(*_LIB, _SEARCH, _PIECES, "lib/typed/typed_event.lua", "user_merge/stream_moved.lua")
DISCARD = Script(*_LIB, *_MERGES, _REPLICATE, _PIECES, "user_merge/discard.lua")
FINALIZE = Script("lib/format.lua", *_MERGES, _REPLICATE, "user_merge/finalize.lua")
REVOKE_TOKEN = Script(_REPLICATE, "user_merge/tokens/revoke.lua")
LIST_DETACHED = Script("lib/format.lua", *_MERGES, "user_merge/list_detached.lua")
_CATALOGUE = ("lib/format.lua", "lib/catalogue.lua")
WRITE_ITEMS = Script(*_CATALOGUE, _REPLICATE, "catalogue/write_items.lua")
READ_ITEMS = Script("catalogue/read_items.lua")
READ_POSITIONS = Script(*_CATALOGUE, "catalogue/read_positions.lua")
READ_POSITION = Script(*_CATALOGUE, "catalogue/read_position.lua")
READ_CHANGES = Script(*_CATALOGUE, "catalogue/read_changes.lua")
SCAN_ITEMS = Script(*_CATALOGUE, "catalogue/scan_items.lua")
READ_DEFINITIONS = Script(*_CATALOGUE, "catalogue/read_definitions.lua")
SET_DEFINITION = Script(*_CATALOGUE, _REPLICATE, "catalogue/set_definition.lua")
_VECTORS = ("lib/format.lua", "item_vectors/entry.lua")
APPEND_VECTORS = Script(*_VECTORS, _REPLICATE, "item_vectors/append.lua")
READ_VECTORS = Script(*_VECTORS, "item_vectors/read.lua")
VECTOR_VERSIONS = Script("item_vectors/versions.lua")
FORGET_VECTORS = Script("item_vectors/forget.lua")
STORE_SCRIPTS = (
    *(APPEND_AND_READ, PUT_SNAPSHOT, HISTORY, DELETE_EVENT, DELETE_USER, EXPIRE, RECORDS, COMPARE_AND_SET),
    *(DETACH, GRANT_TOKEN, READ_DETACHED, READ_TARGET, STAGE, APPLY, FIND_MERGE, STREAM_MOVED, DISCARD, FINALIZE),
    *(REVOKE_TOKEN, LIST_DETACHED, READ_ATTRIBUTION),
    *(WRITE_ITEMS, READ_ITEMS, READ_POSITIONS, READ_POSITION, READ_CHANGES, SCAN_ITEMS, READ_DEFINITIONS),
    *(SET_DEFINITION, APPEND_VECTORS, READ_VECTORS, VECTOR_VERSIONS, FORGET_VECTORS),
)
IF_LEASE_HELD = Script("if_lease_held.lua")  # of the stream reader, which may use another Redis
