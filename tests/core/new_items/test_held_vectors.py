"""Vectors of one list that a worker holds."""

from __future__ import annotations

import pytest

from service.core.new_items.held_vectors import HeldVectors
from service.core.new_items.vector_mark import NO_VECTORS, UNMARKED, VectorMark, item_hash
from service.core.new_items.vector_store import START, VectorEntry, VectorPosition


def entries(*item_ids: str, first: int = 1, token: str = "t") -> list[VectorEntry]:
    return [VectorEntry(n, item_id, b"", token) for n, item_id in enumerate(item_ids, first)]


def held(*item_ids: str) -> HeldVectors:
    found = HeldVectors()
    found.extend(entries(*item_ids))
    return found


def mark(revision: int, *skipped: str) -> VectorMark:
    return VectorMark(VectorPosition(revision, "t" if revision else ""), tuple(sorted(map(item_hash, skipped))))


def test_entries_are_added_in_order() -> None:
    found = held("a", "b")
    found.extend(entries("c", first=3, token="u"))
    assert (found.position, found.numbers) == ((3, "u"), {"a": 1, "b": 2, "c": 3})
    assert [found.had(2, item_id) for item_id in "abcd"] == [True, True, False, True]
    with pytest.raises(ValueError, match="entry 5 does not follow 3"):
        found.extend(entries("e", first=5))


def test_position_is_held_with_its_own_token_only() -> None:
    found = held("a", "b")
    assert all(map(found.holds, (START, VectorPosition(1, "t"), VectorPosition(2, "t"))))
    assert not any(map(found.holds, (VectorPosition(1, "u"), VectorPosition(3, "t"))))


def test_snapshot_that_skipped_an_item_is_outdated_once_it_has_a_vector() -> None:
    found = held("a", "b", "c")
    assert found.adds_to(mark(1, "x", "b"))
    assert found.adds_to(mark(0, "a"))
    assert not found.adds_to(mark(3, "x"))
    assert not found.adds_to(mark(1, "x"))
    assert not found.adds_to(mark(0))
    assert found.adds_to(UNMARKED)
    assert not held().adds_to(UNMARKED)


def test_mark_names_what_a_replay_skipped() -> None:
    found = held("a", "b")
    done = found.mark(found.start(), 2, None, ["a", "x", "1"], {"a", "1"}.__contains__)
    assert done == mark(2, "x")
    later = found.mark(found.start(), 2, done, ["y"], {"a"}.__contains__)
    assert later == mark(2, "x", "y")
    assert found.mark(found.start(), 2, NO_VECTORS, [], lambda item_id: True) == mark(2)


def test_replay_has_no_mark_if_vectors_arrived_meanwhile() -> None:
    found = held("a")
    start = found.start()
    assert found.mark(start, 2, None, [], lambda item_id: True) is None
    found.extend(entries("b", first=2))
    assert found.mark(start, 2, None, [], lambda item_id: True) is None
    assert found.mark(found.start(), 2, None, [], lambda item_id: True) == mark(2)


def test_replaced_entries_are_of_another_epoch() -> None:
    found = held("a", "b", "c")
    start = found.start()
    found.clear()
    found.extend(entries("a", "x", token="u"))
    assert (found.position, found.numbers, found.epoch) == ((2, "u"), {"a": 1, "x": 2}, start.epoch + 1)
    assert not found.holds(VectorPosition(1, "t"))
    found.clear()
    assert (found.position, found.epoch) == (START, start.epoch + 2)
