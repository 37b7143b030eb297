"""Codes of ids, and their order by earliest event."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from model.training.data.id_encoder import IdEncoder, grow


def test_codes_follow_the_order_of_appearance() -> None:
    encoder = IdEncoder()
    assert encoder.encode(pa.array(["b", "a", "b"])).tolist() == [0, 1, 0]
    assert encoder.encode(pa.array(["c", "a"])).tolist() == [2, 1]
    assert len(encoder) == 3


def test_ranks_follow_the_earliest_event_and_ties_the_file() -> None:
    encoder = IdEncoder()
    first = encoder.encode(pa.array(["late", "tie 1", "tie 2"]))
    encoder.record_events(first, np.array([9, 5, 5]), 0)
    second = encoder.encode(pa.array(["tie 2", "late", "early"]))
    encoder.record_events(second, np.array([7, 8, 1]), 3)
    assert encoder.sorted_by(encoder.ranks()) == ["early", "tie 1", "tie 2", "late"]


def test_ranks_without_recorded_events_follow_appearance() -> None:
    encoder = IdEncoder()
    encoder.encode(pa.array(["b", "a"]))
    assert encoder.sorted_by(encoder.ranks()) == ["b", "a"]


def test_grow_keeps_the_values_and_doubles_the_room() -> None:
    values = np.array([1, 2, 3])
    assert grow(values, 3) is values
    grown = grow(values, 4)
    assert grown.tolist() == [1, 2, 3, 0, 0, 0]
