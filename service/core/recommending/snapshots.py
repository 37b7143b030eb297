"""The memo: a user's state as bytes that can be checked before they are believed."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from service.core.events import MemoPut, Snapshot

# Events that wait to be folded before a user's memo is written anew. Folding one event more costs an answer less than
# storing 3 KB costs Redis and its log; with 3 or 4 the folds cost as much again as the writes save.
EVENTS_A_MEMO = 2

_FORMAT = 1
_HEADER = struct.Struct("<BxxxIQQ")  # format, CRC-32, applied, base


class MemoDamaged(Exception):
    """The bytes are not the memo that was written; the state must be rebuilt from the log."""


class Memo(NamedTuple):
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


def encode_memo(memo: Memo, user_id: str, model_version: str) -> bytes:
    """`memo` as bytes, bound to this user and model."""
    checksum = _checksum(user_id, model_version, memo.applied, memo.base, memo.state)
    return _HEADER.pack(_FORMAT, checksum, memo.applied, memo.base) + memo.state


def decode_memo(blob: bytes, user_id: str, model_version: str) -> Memo:
    """The memo in `blob`; raises `MemoDamaged` unless it is this user's, this model's and whole."""
    if len(blob) < _HEADER.size:
        raise MemoDamaged("shorter than its header")
    layout, checksum, applied, base = _HEADER.unpack_from(blob)
    state = blob[_HEADER.size :]
    if layout != _FORMAT:
        raise MemoDamaged(f"format {layout} is not {_FORMAT}")
    if checksum != _checksum(user_id, model_version, applied, base, state):
        raise MemoDamaged("checksum differs")
    return Memo(applied, base, state)


def memo_due(snapshot: Snapshot) -> bool:
    """Whether the memo is worth writing once the snapshot's pending events are folded: a user's first always is."""
    return len(snapshot.pending) >= (1 if snapshot.memo is None else EVENTS_A_MEMO)


def memo_after(
    user_id: str, model_version: str, snapshot: Snapshot, begun: Memo | None, state: bytes, *, repair: bool = False
) -> MemoPut:
    """What to store once `state` folds the snapshot's pending events after `begun`, the memo that came with it."""
    base = snapshot.trimmed if begun is None else begun.base
    blob = encode_memo(Memo(snapshot.sequence, base, state), user_id, model_version)
    return MemoPut(user_id, snapshot.generation, model_version, snapshot.sequence, blob, repair, snapshot.newest)
