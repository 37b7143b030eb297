"""Ridge regression on sparse features."""

from __future__ import annotations

import numpy as np
import torch

from model.content.feature_space import Features
from model.training.content.ridge import SparseFeatures, ridge


def sparse(matrix: np.ndarray) -> SparseFeatures:
    rows = [Features(np.flatnonzero(row), row[row != 0].astype(np.float32)) for row in matrix]
    return SparseFeatures(rows, matrix.shape[1], torch.device("cpu"))


def test_solution_equals_that_of_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    X = (rng.random((80, 30)) < 0.2) * rng.integers(1, 5, (80, 30)) / 4.0
    X[:, 7] = 0.0  # a column that no item has
    Y, w, p = rng.standard_normal((80, 5)), rng.random(80), 0.1 + rng.random(30)
    found = ridge(sparse(X), *map(torch.from_numpy, (Y, w, p)))
    expected = np.linalg.solve(X.T @ (w[:, None] * X) + np.diag(p), X.T @ (w[:, None] * Y))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-4)


def test_targets_of_zero_give_zero() -> None:
    found = ridge(sparse(np.eye(4)), torch.zeros(4, 2).double(), torch.ones(4).double(), torch.ones(4).double())
    assert not found.any()


def test_items_without_features_are_no_error() -> None:
    found = ridge(sparse(np.zeros((3, 2))), torch.ones(3, 2).double(), torch.ones(3).double(), torch.ones(2).double())
    assert not found.any()
