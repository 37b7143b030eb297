"""A log cut in time: what is trained on, what is asked, and what an unknown item counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.config import ModelConfig
from model.training.data.export import export_log
from model.training.data.time_split import Timeline, read_timeline
from model.training.evaluation.model_comparison import evaluate_newest
from tests.model.builders import network_of, random_weights
from tests.model.training.logs import append
from tests.store.backends import SqliteBackend


def timeline(tmp_path: Path, events: list[tuple[str, str, float]]) -> Timeline:
    backend = SqliteBackend(tmp_path / "t.db")
    append(backend, events)
    export_log(backend.url, tmp_path / "t")
    return read_timeline(tmp_path / "t")


def test_nothing_later_stands_in_the_training_data(tmp_path: Path) -> None:
    """The event that arrived last but says it is old counts as of the time of the one before it."""
    found = timeline(
        tmp_path,
        [("a", "x", 1.0), ("a", "y", 9.0), ("b", "x", 2.0), ("a", "z", 3.0), ("b", "q", 8.0), ("c", "w", 9.5)],
    )
    by_user = {
        user: found.times[found.offsets[n] : found.offsets[n + 1]].tolist() for n, user in enumerate(found.user_ids)
    }
    assert by_user == {"a": [1, 9, 9], "b": [2, 8], "c": [9.5]}
    data = found.before(8.5)
    assert list(data.user_ids) == ["a", "b"]
    assert [data.item_ids[row - 1] for row in data.rows] == ["x", "x", "q"]
    assert data.offsets.tolist() == [0, 1, 3]
    assert data.popularity().tolist() == [0, 2, 1]
    assert found.last_time_before(8.5) == 8.0
    assert found.asked_after(8.0, 10).sum() == 3
    assert found.asked_after(8.0, 1).sum() == 1


def test_the_cut(tmp_path: Path) -> None:
    found = timeline(tmp_path, [("a", f"i{n}", float(3600 * (n // 2))) for n in range(20)])
    assert (found.times >= found.cut(0.1, None)).sum() == 2
    assert (found.times >= found.cut(0.25, None)).sum() == 6  # of one time, so together
    assert (found.times >= found.cut(0.0001, None)).sum() == 2
    assert (found.times >= found.cut(0.5, 3.0)).sum() == 8


def test_items_unknown_to_a_model_are_misses(tmp_path: Path) -> None:
    found = timeline(tmp_path, [("a", "i1", 1.0), ("a", "new", 2.0), ("b", "i2", 3.0), ("c", "new", 4.0)])
    config = ModelConfig(items=2, dim=4)
    network = network_of(config, random_weights(config))
    figures = evaluate_newest(network, ["i1", "i2"], np.array([0, 1, 1]), found, found.asked_after(0.0, 10))
    assert figures["known_items"] == 0.5
    assert figures["hr@10"] == 0.5  # with two items every known one is among the first ten
    assert 0.25 <= figures["ndcg@10"] <= 0.5
