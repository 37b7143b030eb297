"""Kernels of the elementwise functions and of the LayerNorm, float32."""

from __future__ import annotations

import numpy as np

from model.config import LAYER_NORM_EPS
from service.engine.arrays import F32
from service.engine.jit import kernel, reduction

_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_EPS = np.float32(LAYER_NORM_EPS)
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # their sum is ln 2; n * high is exact
_MAX_EXPONENT = np.float32(87)  # exp(87) and exp(-87) are finite and not denormal
_ROUNDING_BIAS = np.float32(128.5)
_C3, _C4, _C5, _C6, _C7 = (np.float32(1 / n) for n in (6, 24, 120, 720, 5040))


@kernel
def add_norm(x: F32, other: F32, norm: F32, D: int) -> None:
    """Set x = LayerNorm(x + other) over its first D entries.

    norm holds the weight, then the bias, each padded with zeros.
    """
    for d in range(len(x)):
        x[d] += other[d]
    mean = _sum(x, D) / np.float32(D)
    for d in range(D):
        x[d] -= mean
    scale = _ONE / np.sqrt(_sum_of_squares(x, D) / np.float32(D) + _EPS)
    for d in range(len(x)):
        x[d] = x[d] * scale * norm[d] + norm[len(x) + d]


@reduction
def _sum(x: F32, n: int) -> np.float32:
    total = np.float32(0)
    for i in range(n):
        total += x[i]
    return total


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


@kernel
def sigmoid(x: np.float32) -> np.float32:
    """Return 1 / (1 + exp(-x)) to float32 precision."""
    return _ONE / (_TWO + expm1(-x))


@kernel
def expm1(x: np.float32) -> np.float32:
    """Return exp(x) - 1 to float32 precision.

    The function calls no library, so that loops over it are vectorised.

    x is limited to +-87. x = n ln 2 + r with |r| <= ln 2 / 2, and exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1).
    """
    x = min(max(x, -_MAX_EXPONENT), _MAX_EXPONENT)
    n = np.int32(x * _LOG2_E + _ROUNDING_BIAS) - np.int32(128)  # the sum is positive, so truncation rounds x / ln 2
    r = x - np.float32(n) * _LN2_HIGH
    r = r - np.float32(n) * _LN2_LOW
    series = _C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * _C7)))
    series = r + r * r * (_HALF + r * series)
    power = np.int32((n + 127) << 23).view(np.float32)
    return power * series + (power - _ONE)
