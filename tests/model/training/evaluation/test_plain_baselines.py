"""Baselines, against plain definitions."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from model.training.evaluation import plain_baselines
from model.training.evaluation.plain_baselines import baseline_metrics, rank_by_baselines
from tests.model.training.histories import histories_of_lengths


def plain_ranks(scores: dict[int, float], history: list[int]) -> tuple[int, int]:
    """Ranks of the last item, among all items and among unseen ones."""
    order = sorted(scores, key=lambda row: (-scores[row], row))
    seen = set(history[:-1])
    masked = [row for row in order if row not in seen]
    target = history[-1]
    return order.index(target) + 1, len(scores) + 1 if target in seen else masked.index(target) + 1


@pytest.mark.parametrize("block", [1, 1 << 23])
def test_ranks_equal_those_of_the_definitions(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_baselines, "_BLOCK_SCORES", block)
    items = 30
    data = histories_of_lengths([12, 5, 2, 1, 9, 20, 3, 7], items, seed=3)
    histories = [data.rows[data.offsets[n] : data.offsets[n + 1]].tolist() for n in range(len(data.user_ids))]
    train = [history[:-2] for history in histories]
    count = {row: sum(history.count(row) for history in train) for row in range(1, items + 1)}
    users = {row: {n for n, history in enumerate(train) if row in history} for row in count}
    cosine = dict.fromkeys(((a, b) for a in count for b in count), 0.0)
    for a, b in combinations(count, 2):
        if common := len(users[a] & users[b]):
            cosine[a, b] = cosine[b, a] = common / math.sqrt(len(users[a]) * len(users[b]))
    expected: dict[str, list[tuple[int, int]]] = {"popularity": [], "item_knn": []}
    for history in histories:
        if len(history) < 2:
            continue
        query = set(history[:-1][-10:])
        most = max(count.values())
        knn = {row: sum(cosine[q, row] for q in sorted(query)) + 1e-9 * n / most for row, n in count.items()}
        expected["popularity"].append(plain_ranks({row: float(n) for row, n in count.items()}, history))
        expected["item_knn"].append(plain_ranks(knn, history))
    found = rank_by_baselines(data)
    for name, ranks in expected.items():
        assert list(zip(found[name].kept.tolist(), found[name].masked.tolist(), strict=True)) == ranks


def test_item_knn_finds_what_popularity_does_not() -> None:
    """Users stay within one of two groups of items."""
    rng = np.random.default_rng(1)
    data = histories_of_lengths([12] * 100, 40)
    group = np.repeat(np.arange(100) % 2, 12)
    data.rows[:] = rng.integers(1, 21, 1200) + 20 * group
    metrics = baseline_metrics(data)
    assert metrics["item_knn"]["hr@20"] == 1.0
    assert metrics["popularity"]["hr@20"] < 0.8


def test_many_users_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_baselines, "_MAX_SCORES", 10 * 31)
    monkeypatch.setattr(plain_baselines, "_MAX_PAIRS", 100)
    found = rank_by_baselines(histories_of_lengths([6] * 50, 30))
    assert {len(ranks.kept) for ranks in found.values()} == {10}


def test_no_baselines_without_a_history_of_two_events() -> None:
    assert baseline_metrics(histories_of_lengths([1, 1], 3)) == {}
