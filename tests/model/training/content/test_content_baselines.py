"""Scores of the plain baselines."""

from __future__ import annotations

import numpy as np
import pytest

from model.content.feature_space import Features
from model.training.content.content_baselines import ContentKnnScorer, PopularityScorer
from model.training.evaluation.prefix_ranking import Prefixes


def test_content_knn_sums_cosines_with_the_newest_items() -> None:
    matrix = np.array([[1.0, 0, 0], [2, 2, 0], [0, 1, 0], [0, 0, 5], [0, 0, 0]])
    features = [Features(np.flatnonzero(row), row[row != 0].astype(np.float32)) for row in matrix]
    prefixes = Prefixes([np.array([1, 3, 2, 4]), np.array([5, 1])], [2, 1])
    scores = ContentKnnScorer(features, 3).scores(prefixes).numpy()
    half = np.sqrt(0.5)
    assert scores.shape == (3, 6)
    np.testing.assert_allclose(scores[0, 1:], [1.0, 2 * half, 1.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(scores[1, 1:], [1 + half, 1 + 2 * half, 1 + half, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(scores[2, 1:], 0.0, atol=1e-6)


def test_only_the_ten_newest_items_count() -> None:
    features = [Features(np.array([row]), np.ones(1, np.float32)) for row in range(12)]
    scores = ContentKnnScorer(features, 12).scores(Prefixes([np.arange(1, 13)], [11])).numpy()
    assert scores[0, 1] == pytest.approx(0.0, abs=1e-6)
    assert scores[0, 2] == pytest.approx(1.0, abs=1e-6)


def test_popularity_ranks_all_users_alike() -> None:
    scores = PopularityScorer(np.array([0, 5, 0, 7])).scores(
        Prefixes([np.array([1, 2]), np.array([3, 3, 1])], [1, 1])
    )
    assert scores.tolist() == [[0.0, 5.0, 0.0, 7.0]] * 3
