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


class Script:
    """A Lua script made of several files, with its digest.

    A line `-- include FILE` stands for the file.
    """

    def __init__(self, *files: str) -> None:
        self.source = _INCLUDE.sub(lambda line: _read(line[1]), "\n".join(map(_read, files)))
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


# A file may use what the files before it define.
_HEAD = ("lib/format.lua", "lib/head.lua")
_LIB = (*_HEAD, "lib/event_id.lua", "lib/pack_entry.lua", "lib/unpack_entry.lua")
_SNAPSHOTS = ("lib/record.lua", "lib/snapshots.lua")
_MERGES = ("lib/record.lua", "user_merge/merge_records.lua")
_SEARCH, _RETENTION = "lib/binary_search.lua", "lib/retention.lua"
_SEQUENCE, _REPLICATE = "lib/find_sequence.lua", "lib/replicate.lua"

APPEND_AND_READ = Script(*_HEAD, "lib/event_id.lua", "lib/pack_entry.lua", "append_and_read.lua")
PUT_SNAPSHOT = Script(*_HEAD, "lib/unpack_entry.lua", "put_snapshot.lua")
HISTORY = Script(*_LIB, _SEARCH, _SEQUENCE, "history.lua")
DELETE_EVENT = Script(*_LIB, *_SNAPSHOTS, _REPLICATE, _SEARCH, _SEQUENCE, "delete_event.lua")
DELETE_USER = Script(*_LIB, *_MERGES, _REPLICATE, "delete_user.lua")
EXPIRE = Script(*_LIB, *_MERGES, _SEARCH, _RETENTION, "expire.lua")
RECORDS = Script("records.lua")
COMPARE_AND_SET = Script("compare_and_set.lua")
DETACH = Script(*_LIB, *_MERGES, _REPLICATE, "user_merge/detach.lua")
GRANT_TOKEN = Script("user_merge/grant_token.lua")
APPLY = Script(*_LIB, *_MERGES, "lib/snapshots.lua", _REPLICATE, "user_merge/apply.lua")
DISCARD = Script("lib/format.lua", *_MERGES, _REPLICATE, "user_merge/discard.lua")
FINALIZE = Script("lib/format.lua", *_MERGES, _REPLICATE, "user_merge/finalize.lua")
REVOKE_TOKEN = Script(_REPLICATE, "user_merge/revoke_token.lua")
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
STORE_SCRIPTS = (
    *(APPEND_AND_READ, PUT_SNAPSHOT, HISTORY, DELETE_EVENT, DELETE_USER, EXPIRE, RECORDS, COMPARE_AND_SET),
    *(DETACH, GRANT_TOKEN, APPLY, DISCARD, FINALIZE, REVOKE_TOKEN, LIST_DETACHED),
    *(WRITE_ITEMS, READ_ITEMS, READ_POSITIONS, READ_POSITION, READ_CHANGES, SCAN_ITEMS, READ_DEFINITIONS),
    SET_DEFINITION,
)
IF_LEASE_HELD = Script("if_lease_held.lua")  # of the stream reader, which may use another Redis
