"""Snapshots of a user's state, as bytes with a checksum.

The state inside is opaque here; `model/state_layout.py` describes its bytes.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from service.core.errors import SnapshotDamagedError
from service.core.events import LogView, SnapshotPut

# Pending events after which a new snapshot is written. Replaying one more event costs an answer less than storing
# 3 KB costs Redis; with 3 or 4 the replays cost as much as the writes save.
EVENTS_PER_SNAPSHOT = 2

_FORMAT = 1
_HEADER = struct.Struct("<BxxxIQQ")  # format, CRC-32, applied, base


class Snapshot(NamedTuple):
    """A state after replaying the log from `base` to `applied`.

    Both are sequences: the first event replayed is the one after `base`.

    `base` is the newest sequence that retention had removed when the replay began. While it equals the log's, the
    snapshot reflects exactly the kept events, and an audit can demand equality.
    """

    applied: int
    base: int
    state: bytes


def encode_snapshot(snapshot: Snapshot, user_id: str, model_version: str) -> bytes:
    """Encode a snapshot, bound to this user and model by its checksum."""
    applied, base, state = snapshot
    # User and model are part of the sum, so that a snapshot under another user's key counts as damaged.
    identity = f"{user_id}\0{model_version}\0{applied}\0{base}\0".encode()
    return _HEADER.pack(_FORMAT, zlib.crc32(state, zlib.crc32(identity)), applied, base) + state


def decode_snapshot(blob: bytes, user_id: str, model_version: str) -> Snapshot:
    """Decode and verify a snapshot; raises `SnapshotDamagedError`."""
    if len(blob) < _HEADER.size:
        raise SnapshotDamagedError("shorter than its header")
    layout, _, applied, base = _HEADER.unpack_from(blob)
    if layout != _FORMAT:
        raise SnapshotDamagedError(f"format {layout} is not {_FORMAT}")
    snapshot = Snapshot(applied, base, blob[_HEADER.size :])
    if encode_snapshot(snapshot, user_id, model_version) != blob:
        raise SnapshotDamagedError("checksum differs")
    return snapshot


def snapshot_due(view: LogView) -> bool:
    """Return whether to write a snapshot after replaying the pending events.

    A user's first snapshot is written after the first event.
    """
    return len(view.pending) >= (1 if view.snapshot is None else EVENTS_PER_SNAPSHOT)


def next_snapshot(
    user_id: str, model_version: str, view: LogView, previous: Snapshot | None, state: bytes, *, repair: bool = False
) -> SnapshotPut:
    """Build the snapshot of `state`, the replay of the view's pending events.

    Args:
        user_id: The user.
        model_version: The model that computed the state.
        view: The log that was replayed.
        previous: The snapshot that the replay began from; None for a replay of the whole log.
        state: The state after the newest event.
        repair: Whether to replace the stored snapshot whatever its sequence, because it is damaged.
    """
    base = view.trimmed if previous is None else previous.base
    blob = encode_snapshot(Snapshot(view.sequence, base, state), user_id, model_version)
    return SnapshotPut(user_id, view.generation, model_version, view.sequence, blob, repair, view.newest)
