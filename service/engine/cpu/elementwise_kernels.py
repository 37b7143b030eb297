"""Kernels of the elementwise functions and of the LayerNorm, float32."""

from __future__ import annotations

import numpy as np

from model.compiled.array_types import F32
from model.compiled.elementary_functions import ONE, sigmoid, sum_of
from model.compiled.jit import kernel, reduction
from model.config import LAYER_NORM_EPS

_EPS = np.float32(LAYER_NORM_EPS)


@kernel
def add_norm(x: F32, other: F32, norm: F32, D: int) -> None:
    """Set x = LayerNorm(x + other) over its first D entries.

    norm holds the weight, then the bias, each padded with zeros.
    """
    for d in range(len(x)):
        x[d] += other[d]
    mean = sum_of(x, D) / np.float32(D)
    for d in range(D):
        x[d] -= mean
    scale = ONE / np.sqrt(_sum_of_squares(x, D) / np.float32(D) + _EPS)
    for d in range(len(x)):
        x[d] = x[d] * scale * norm[d] + norm[len(x) + d]


@reduction
def _sum_of_squares(x: F32, n: int) -> np.float32:
    total = np.float32(0)
    for i in range(n):
        total += x[i] * x[i]
    return total


@kernel
def silu(x: F32) -> None:
    """Set x = x * sigmoid(x)."""
    for c in range(len(x)):
        x[c] *= sigmoid(x[c])
