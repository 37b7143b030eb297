"""Excluded items in the bytes of a snapshot."""

from __future__ import annotations

import struct

from service.core.errors import SnapshotDamagedError
from service.core.event_types.exclusions import Exclusions

_SIZE = struct.Struct("<I")  # of all that follows
_ITEM = struct.Struct("<QH")  # sequence of the excluding event, and size of the item id, which follows in UTF-8


def encode_exclusions(excluded: Exclusions) -> bytes:
    """Return the bytes of excluded items."""
    parts = [b""]
    for item_id, sequence in excluded.items():
        name = item_id.encode()
        parts += (_ITEM.pack(sequence, len(name)), name)
    packed = b"".join(parts)
    return _SIZE.pack(len(packed)) + packed


def decode_exclusions(blob: bytes, start: int) -> tuple[Exclusions, int]:
    """Return the excluded items at an offset, and their end.

    Raises `SnapshotDamagedError` for other bytes.
    """
    excluded = {}
    try:
        at = start + _SIZE.size
        end = at + _SIZE.unpack_from(blob, start)[0]
        while at < end:
            sequence, size = _ITEM.unpack_from(blob, at)
            at += _ITEM.size + size
            excluded[blob[at - size : at].decode()] = sequence
    except (struct.error, UnicodeDecodeError):
        raise SnapshotDamagedError("its exclusions cannot be read") from None
    return excluded, end
