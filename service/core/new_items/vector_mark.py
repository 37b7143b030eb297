"""Vectors that a snapshot was computed with.

Only snapshots of models with a content encoder have a mark. It stands between the header of a snapshot and the state.
Stores compare the revisions of two snapshots, so its place is part of the stored format: put_snapshot.lua reads it
too.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from service.core.new_items.vector_store import START, TOKEN_CHARACTERS, VectorPosition

MARK_PART = 2  # bit of the second byte of a snapshot with a mark
REVISION_OFFSET = 24  # in the snapshot
MAX_SKIPPED = 64  # items that a mark names
_REVISION = struct.Struct("<d")  # a double, because numbers in Lua are
SNAPSHOT_HEADER_BYTES = REVISION_OFFSET + _REVISION.size  # up to the revision
_HEADER = struct.Struct(f"<d{TOKEN_CHARACTERS}sH")
_TOO_MANY = 0xFFFF
_FORMAT = 1  # of snapshots


class VectorMark(NamedTuple):
    """Which vectors a replay had.

    Attributes:
        position: Entries that the worker held.
        skipped: Hashes of the replayed items that had no vector then, ascending; None if there are too many to name.
    """

    position: VectorPosition
    skipped: tuple[int, ...] | None = ()

    def with_skipped(self, position: VectorPosition, item_ids: Iterable[str]) -> VectorMark:
        """Return the mark after more items without a vector."""
        if self.skipped is None:
            return VectorMark(position, None)
        skipped = {*self.skipped, *map(item_hash, item_ids)}
        return VectorMark(position, None if len(skipped) > MAX_SKIPPED else tuple(sorted(skipped)))


UNMARKED = VectorMark(START, None)  # of a snapshot that a release without marks has written
NO_VECTORS = VectorMark(START)  # of an empty history


def item_hash(item_id: str) -> int:
    """Return a hash of 32 bits, the same in every process."""
    return zlib.crc32(item_id.encode("utf-8", "surrogatepass"))


def encode_mark(mark: VectorMark) -> bytes:
    """Return the bytes of a mark."""
    position, skipped = mark
    count = _TOO_MANY if skipped is None else len(skipped)
    header = _HEADER.pack(position.revision, position.token.encode(), count)
    return header + struct.pack(f"<{len(skipped or ())}I", *(skipped or ()))


def decode_mark(blob: bytes, start: int) -> tuple[VectorMark, int]:
    """Return the mark at an offset, and the offset of its end.

    Raises `struct.error` or `ValueError` for other bytes.
    """
    revision, token, count = _HEADER.unpack_from(blob, start)
    end = start + _HEADER.size
    skipped: tuple[int, ...] | None = None
    if count != _TOO_MANY:
        skipped = struct.unpack_from(f"<{count}I", blob, end)
        end += 4 * count
    return VectorMark(VectorPosition(int(revision), token.decode().rstrip("\0")), skipped), end


def is_better(blob: bytes, applied: int, stored: bytes, stored_applied: int) -> bool:
    """Return whether a snapshot replaces the stored one of its model.

    Of snapshots with marks the one with the higher vector revision is better, then the longer one. Of `stored` the
    first SNAPSHOT_HEADER_BYTES are enough.
    """
    if _is_marked(blob):
        ours, theirs = vector_revision(blob), vector_revision(stored)
        if ours != theirs:
            return ours > theirs
    return applied > stored_applied


def vector_revision(blob: bytes) -> int:
    """Return the vector revision of a stored snapshot; 0 without a mark."""
    return int(_REVISION.unpack_from(blob, REVISION_OFFSET)[0]) if _is_marked(blob) else 0


def _is_marked(blob: bytes) -> bool:
    return len(blob) >= SNAPSHOT_HEADER_BYTES and blob[0] == _FORMAT and bool(blob[1] & MARK_PART)
