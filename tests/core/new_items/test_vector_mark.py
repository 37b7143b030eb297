"""Marks of snapshots: which vectors of new items a replay had."""

from __future__ import annotations

import struct

import pytest

from service.core.errors import SnapshotDamagedError
from service.core.new_items.vector_mark import (
    MAX_SKIPPED,
    NO_VECTORS,
    SNAPSHOT_HEADER_BYTES,
    UNMARKED,
    VectorMark,
    decode_mark,
    encode_mark,
    is_better,
    item_hash,
    vector_revision,
)
from service.core.new_items.vector_store import START, VectorPosition
from service.core.recommending.log_replay.snapshots import Snapshot, decode_snapshot, encode_snapshot, mark_of

POSITION = VectorPosition(7, "0123456789abcdef")
MARKS = (
    NO_VECTORS,
    UNMARKED,
    VectorMark(POSITION),
    VectorMark(POSITION, (1, 0xFFFFFFFF)),
    VectorMark(VectorPosition(2**40, "f" * 16), tuple(range(MAX_SKIPPED))),
    VectorMark(POSITION, None),
)


def snapshot(mark: VectorMark | None, applied: int = 3, state: bytes = b"state") -> bytes:
    return encode_snapshot(Snapshot(applied, 0, state, None, mark), "u", "v1")


@pytest.mark.parametrize("mark", MARKS)
def test_mark_is_decoded_as_encoded(mark: VectorMark) -> None:
    encoded = encode_mark(mark)
    assert decode_mark(b"abc" + encoded + b"rest", 3) == (mark, 3 + len(encoded))


@pytest.mark.parametrize("mark", MARKS)
def test_snapshot_with_a_mark_is_decoded_as_encoded(mark: VectorMark) -> None:
    blob = snapshot(mark)
    assert decode_snapshot(blob, "u", "v1") == (3, 0, b"state", None, mark)
    assert vector_revision(blob) == vector_revision(blob[:SNAPSHOT_HEADER_BYTES]) == mark.position.revision


def test_mark_stands_beside_exclusions() -> None:
    snapshot = Snapshot(3, 0, b"state", {"a": 2}, VectorMark(POSITION, (5,)))
    blob = encode_snapshot(snapshot, "u", "v1")
    assert decode_snapshot(blob, "u", "v1") == snapshot
    assert vector_revision(blob) == 7


def test_snapshot_without_a_mark_has_the_bytes_of_earlier_releases() -> None:
    assert snapshot(None).hex() == "01000000" + "84688a47" + "0300000000000000" + "0000000000000000" + b"state".hex()
    assert vector_revision(snapshot(None)) == 0
    assert mark_of(decode_snapshot(snapshot(None), "u", "v1")) == UNMARKED
    assert mark_of(None) is None


def test_every_changed_byte_of_a_marked_snapshot_is_found() -> None:
    blob = snapshot(VectorMark(POSITION, (5, 9)))
    for index in range(len(blob)):
        changed = bytearray(blob)
        changed[index] ^= 0x40
        with pytest.raises(SnapshotDamagedError):
            decode_snapshot(bytes(changed), "u", "v1")
    for end in range(len(blob)):
        with pytest.raises(SnapshotDamagedError):
            decode_snapshot(blob[:end], "u", "v1")


def test_cut_off_mark_is_refused() -> None:
    with pytest.raises(struct.error):
        decode_mark(encode_mark(MARKS[3])[:-1], 0)


def test_skipped_items_are_named_up_to_a_bound() -> None:
    mark = NO_VECTORS.with_skipped(POSITION, ["b", "a", "b"])
    assert mark == VectorMark(POSITION, tuple(sorted([item_hash("a"), item_hash("b")])))
    full = mark.with_skipped(POSITION, [f"i{n}" for n in range(MAX_SKIPPED - 2)])
    assert full.skipped is not None and len(full.skipped) == MAX_SKIPPED
    assert full.with_skipped(POSITION, ["a"]) == full
    assert full.with_skipped(POSITION, ["one more"]).skipped is None
    assert UNMARKED.with_skipped(POSITION, []) == VectorMark(POSITION, None)


@pytest.mark.parametrize(
    ("new", "stored", "expected"),
    [
        ((1, 5), (1, 5), False),
        ((1, 6), (1, 5), True),
        ((2, 4), (1, 5), True),
        ((1, 6), (2, 5), False),
        ((0, 6), (0, 5), True),
        ((0, 9), (1, 5), False),
    ],
)
def test_higher_revision_is_better_and_then_the_longer_prefix(
    new: tuple[int, int], stored: tuple[int, int], expected: bool
) -> None:
    blobs = [snapshot(VectorMark(START._replace(revision=revision)), applied) for revision, applied in (new, stored)]
    assert is_better(blobs[0], new[1], blobs[1], stored[1]) == expected
    assert is_better(blobs[0], new[1], blobs[1][:SNAPSHOT_HEADER_BYTES], stored[1]) == expected


def test_unmarked_snapshots_are_compared_by_their_prefix() -> None:
    assert is_better(b"", 6, b"", 5)
    assert not is_better(b"", 5, b"", 5)
    assert is_better(snapshot(VectorMark(POSITION)), 4, snapshot(None), 5)
