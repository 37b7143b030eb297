"""The memo: a user's state as bytes that can be checked before they are believed."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from service.core.events import LogView, SnapshotPut

# Events that wait to be folded before a user's memo is written anew. Folding one event more costs an answer less than
# storing 3 KB costs Redis and its log; with 3 or 4 the folds cost as much again as the writes save.
EVENTS_PER_SNAPSHOT = 2

_FORMAT = 1
_HEADER = struct.Struct("<BxxxIQQ")  # format, CRC-32, applied, base


class SnapshotDamagedError(Exception):
    """The bytes are not the memo that was written; the state must be rebuilt from the log."""


class Snapshot(NamedTuple):
    """A state and the events it folds: those after `base` up to and including `applied`.

    `base` is the user's retention mark when the fold began: while it still equals the log's, the kept events are
    exactly the folded ones, and an audit can demand equality.
    """

    applied: int
    base: int
    state: bytes


def _checksum(user_id: str, model_version: str, applied: int, base: int, state: bytes) -> int:
    # The identity is part of the sum: a memo that strays to another user or model is damaged, too.
    identity = f"{user_id}\0{model_version}\0{applied}\0{base}\0".encode()
    return zlib.crc32(state, zlib.crc32(identity))


def encode_snapshot(snapshot: Snapshot, user_id: str, model_version: str) -> bytes:
    """`memo` as bytes, bound to this user and model."""
    checksum = _checksum(user_id, model_version, snapshot.applied, snapshot.base, snapshot.state)
    return _HEADER.pack(_FORMAT, checksum, snapshot.applied, snapshot.base) + snapshot.state


def decode_snapshot(blob: bytes, user_id: str, model_version: str) -> Snapshot:
    """The memo in `blob`; raises `SnapshotDamagedError` unless it is this user's, this model's and whole."""
    if len(blob) < _HEADER.size:
        raise SnapshotDamagedError("shorter than its header")
    layout, checksum, applied, base = _HEADER.unpack_from(blob)
    state = blob[_HEADER.size :]
    if layout != _FORMAT:
        raise SnapshotDamagedError(f"format {layout} is not {_FORMAT}")
    if checksum != _checksum(user_id, model_version, applied, base, state):
        raise SnapshotDamagedError("checksum differs")
    return Snapshot(applied, base, state)


def snapshot_due(view: LogView) -> bool:
    """Whether the memo is worth writing once the snapshot's pending events are folded: a user's first always is."""
    return len(view.pending) >= (1 if view.snapshot is None else EVENTS_PER_SNAPSHOT)


def next_snapshot(
    user_id: str, model_version: str, view: LogView, begun: Snapshot | None, state: bytes, *, repair: bool = False
) -> SnapshotPut:
    """What to store once `state` folds the snapshot's pending events after `begun`, the memo that came with it."""
    base = view.trimmed if begun is None else begun.base
    blob = encode_snapshot(Snapshot(view.sequence, base, state), user_id, model_version)
    return SnapshotPut(user_id, view.generation, model_version, view.sequence, blob, repair, view.newest)
