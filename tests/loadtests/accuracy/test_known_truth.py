"""Made-up logs, and their oracle against a plain computation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from loadtests.accuracy.known_truth import SHIFTS, KnownTruth, make_log, oracle_accuracy

SMALL = KnownTruth(items=300, users=200, events_per_user=9, clusters=30)


def test_equal_parameters_make_equal_logs() -> None:
    first, again, other = make_log(SMALL), make_log(SMALL), make_log(KnownTruth(items=300, users=200, seed=2))
    assert (first.items == again.items).all()
    assert (first.offsets == again.offsets).all()
    assert len(first.items) != len(other.items) or (first.items != other.items).any()


@pytest.mark.parametrize(("items", "clusters"), [(300, 30), (10_000, 30), (100_000, 100), (1_000_000, 1000)])
def test_every_size_has_thirty_clusters_at_least(items: int, clusters: int) -> None:
    assert KnownTruth(items=items).cluster_count == clusters
    assert KnownTruth(items=items).rank_probabilities.sum() == pytest.approx(1)


def test_log_file_has_a_line_for_each_user(tmp_path: Path) -> None:
    log = make_log(SMALL)
    log.write(tmp_path / "events.txt")
    lines = (tmp_path / "events.txt").read_text().splitlines()
    assert len(lines) == 200
    assert lines[7].split() == ["u7", *(f"i{item}" for item in log.items[log.offsets[7] : log.offsets[8]])]
    assert min(len(line.split()) for line in lines) >= 6


def test_events_follow_the_last_two_as_often_as_the_parameters_say() -> None:
    truth = KnownTruth(items=300, users=4000, events_per_user=12, noise=0.3)
    log = make_log(truth)
    follows = Counter[int]()
    for start, end in zip(log.offsets[:-1], log.offsets[1:], strict=True):
        clusters = log.items[start:end] % truth.cluster_count
        near_last = (clusters[2:] - clusters[1:-1]) % truth.cluster_count < SHIFTS
        near_one = near_last | ((clusters[2:] - clusters[:-2]) % truth.cluster_count < SHIFTS)
        follows.update({0: int(near_one.sum()), 1: len(near_one)})
    by_chance = 0.3 * (2 * SHIFTS) / 30  # at most: the clusters of both overlap often
    assert 0.7 <= follows[0] / follows[1] <= 0.7 + by_chance


@pytest.mark.parametrize("truth", [SMALL, KnownTruth(items=330, users=200, events_per_user=7, zipf=0.4, recency=0.9)])
def test_oracle_equals_ranking_every_item(truth: KnownTruth) -> None:
    log, ranks, clusters = make_log(truth), truth.rank_probabilities, truth.cluster_count
    gains, hits = [], []
    for start, end in zip(log.offsets[:-1], log.offsets[1:], strict=True):
        history = log.items[start:end]
        chances = np.zeros(len(ranks) * clusters)
        for back, probability in ((2, truth.recency), (3, 1 - truth.recency)):
            for shift in range(SHIFTS):
                cluster = (history[-back] + shift) % clusters
                chances[np.arange(len(ranks)) * clusters + cluster] += probability / SHIFTS * ranks
        mine = chances[history[-1]]
        first = int((chances > mine * (1 + 1e-9)).sum())
        positions = range(first, first + int((np.abs(chances - mine) <= mine * 1e-9).sum()))
        if mine == 0:  # after all items that can follow, of which there are more than ten
            positions = range(10, 11)
        gains.append(np.mean([1 / np.log2(position + 2) if position < 10 else 0.0 for position in positions]))
        hits.append(np.mean([position < 10 for position in positions]))
    found = oracle_accuracy(truth, log)
    assert found["ndcg@10"] == pytest.approx(np.mean(gains))
    assert found["hr@10"] == pytest.approx(np.mean(hits))
