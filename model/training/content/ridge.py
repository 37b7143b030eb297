"""Weighted ridge regression on sparse features, by conjugate gradients.

Solves (X' W X + diag(p)) B = X' W Y for all columns of Y at once, in float64. X is only multiplied with, so memory
holds the features that items have and not a square of their number.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.content.feature_space import Features

_MAX_ITERATIONS = 200
_TOLERANCE = 1e-5


class SparseFeatures:
    """Sparse matrix (N, C) of features, and its transpose."""

    def __init__(self, rows: Sequence[Features], columns: int, device: torch.device) -> None:
        counts = np.array([len(row.columns) for row in rows], np.int64)
        begin = np.concatenate([[0], np.cumsum(counts)])
        column = np.concatenate([row.columns for row in rows]) if rows else np.zeros(0, np.int64)
        value = np.concatenate([row.values for row in rows]) if rows else np.zeros(0, np.float32)
        self.matrix = _csr(begin, column, value, (len(rows), columns), device)
        order = np.argsort(column, kind="stable")
        ends = np.searchsorted(column[order], np.arange(columns + 1))
        item = np.repeat(np.arange(len(rows)), counts)
        self.transposed = _csr(ends, item[order], value[order], (columns, len(rows)), device)
        squares = np.bincount(column, weights=value.astype(np.float64) ** 2, minlength=columns)
        self.column_squares = torch.from_numpy(squares).to(device)


def ridge(features: SparseFeatures, targets: Tensor, weights: Tensor, penalties: Tensor) -> Tensor:
    """Fit targets (N, D) by features; return coefficients (C, D).

    Args:
        features: of N items.
        targets: (N, D) float64.
        weights: (N,) float64, how much an item counts.
        penalties: (C,) float64, ridge penalty of each column, above 0.
    """
    scale = (features.column_squares * weights.mean() + penalties).reciprocal()[:, None]
    solution = torch.zeros(len(penalties), targets.shape[1], dtype=targets.dtype, device=targets.device)
    residual = features.transposed @ (weights[:, None] * targets)
    step = direction = scale * residual
    product = (residual * step).sum(0)
    first = product.clone()
    for _ in range(_MAX_ITERATIONS):
        image = features.transposed @ (weights[:, None] * (features.matrix @ direction))
        image += penalties[:, None] * direction
        length = product / (direction * image).sum(0).clamp(min=1e-300)
        solution += length * direction
        residual -= length * image
        if bool((product <= _TOLERANCE**2 * first).all()):
            break
        step = scale * residual
        following = (residual * step).sum(0)
        direction = step + following / product.clamp(min=1e-300) * direction
        product = following
    return solution


def _csr(
    begin: NDArray[np.int64],
    column: NDArray[np.int64],
    value: NDArray[np.float32],
    shape: tuple[int, int],
    device: torch.device,
) -> Tensor:
    begins, columns, values = (torch.from_numpy(part) for part in (begin, column, value.astype(np.float64)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")  # products with dense matrices work
        return torch.sparse_csr_tensor(begins, columns, values, shape, check_invariants=False).to(device)
