"""Snapshot encoding: round trip, and every kind of damage."""

from __future__ import annotations

import pytest

from service.core.errors import SnapshotDamagedError
from service.core.recommending.log_replay.snapshots import Snapshot, decode_snapshot, encode_snapshot

SNAPSHOT = Snapshot(applied=7, base=2, state=bytes(range(256)) * 10)
BLOB = encode_snapshot(SNAPSHOT, "ann", "v1")


def test_encoded_snapshot_decodes_to_itself() -> None:
    assert decode_snapshot(BLOB, "ann", "v1") == SNAPSHOT


@pytest.mark.parametrize(("user_id", "version"), [("bob", "v1"), ("ann", "v2"), ("ann\0v1", ""), ("", "ann\0v1")])
def test_snapshot_of_another_user_or_model_is_damaged(user_id: str, version: str) -> None:
    with pytest.raises(SnapshotDamagedError):
        decode_snapshot(BLOB, user_id, version)


def test_snapshot_with_a_changed_byte_is_damaged() -> None:
    padding = range(1, 4)  # of the header
    for at in (*range(24), 24, len(BLOB) // 2, len(BLOB) - 1):
        changed = BLOB[:at] + bytes([BLOB[at] ^ 1]) + BLOB[at + 1 :]
        if at not in padding:
            with pytest.raises(SnapshotDamagedError):
                decode_snapshot(changed, "ann", "v1")


@pytest.mark.parametrize("size", [0, 1, 23, 24, len(BLOB) - 1])
def test_truncated_snapshot_is_damaged(size: int) -> None:
    with pytest.raises(SnapshotDamagedError):
        decode_snapshot(BLOB[:size], "ann", "v1")
