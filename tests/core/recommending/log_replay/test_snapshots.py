"""Snapshot encoding: round trip, and every kind of damage."""

from __future__ import annotations

import struct
import zlib

import pytest

from service.core.errors import SnapshotDamagedError
from service.core.recommending.log_replay.snapshots import Snapshot, decode_snapshot, encode_snapshot

SNAPSHOT = Snapshot(applied=7, base=2, state=bytes(range(256)) * 10)
BLOB = encode_snapshot(SNAPSHOT, "ann", "v1")
EXCLUDING = SNAPSHOT._replace(excluded={"a": 3, "日本語": 2**40})


def test_encoded_snapshot_decodes_to_itself() -> None:
    assert decode_snapshot(BLOB, "ann", "v1") == SNAPSHOT


@pytest.mark.parametrize(("user_id", "version"), [("bob", "v1"), ("ann", "v2"), ("ann\0v1", ""), ("", "ann\0v1")])
def test_snapshot_of_another_user_or_model_is_damaged(user_id: str, version: str) -> None:
    with pytest.raises(SnapshotDamagedError):
        decode_snapshot(BLOB, user_id, version)


def test_snapshot_with_a_changed_byte_is_damaged() -> None:
    padding = range(2, 4)  # of the header
    for at in (*range(24), 24, len(BLOB) // 2, len(BLOB) - 1):
        changed = BLOB[:at] + bytes([BLOB[at] ^ 1]) + BLOB[at + 1 :]
        if at not in padding:
            with pytest.raises(SnapshotDamagedError):
                decode_snapshot(changed, "ann", "v1")


@pytest.mark.parametrize("excluded", [{}, {"a": 3, "日本語": 2**40}, {str(n): n for n in range(1, 3000)}])
def test_snapshot_with_exclusions_decodes_to_itself(excluded: dict[str, int]) -> None:
    snapshot = SNAPSHOT._replace(excluded=excluded)
    blob = encode_snapshot(snapshot, "ann", "v1")
    assert decode_snapshot(blob, "ann", "v1") == snapshot
    assert blob != BLOB


def test_snapshot_without_types_has_the_bytes_of_the_release_without_types() -> None:
    identity = b"ann\0v1\0" + b"7\0" + b"2\0"
    checksum = zlib.crc32(SNAPSHOT.state, zlib.crc32(identity))
    assert struct.pack("<BxxxIQQ", 1, checksum, 7, 2) + SNAPSHOT.state == BLOB


def test_changed_or_cut_off_exclusions_are_damage() -> None:
    blob = encode_snapshot(EXCLUDING, "ann", "v1")
    end = 24 + 4 + 2 * 10 + len("a日本語".encode())
    for at in (1, *range(24, end + 1)):
        changed = blob[:at] + bytes([blob[at] ^ 0x81]) + blob[at + 1 :]
        for text in (changed, blob[:at]):
            with pytest.raises(SnapshotDamagedError):
                decode_snapshot(text, "ann", "v1")


@pytest.mark.parametrize("size", [0, 1, 23, 24, len(BLOB) - 1])
def test_truncated_snapshot_is_damaged(size: int) -> None:
    with pytest.raises(SnapshotDamagedError):
        decode_snapshot(BLOB[:size], "ann", "v1")
