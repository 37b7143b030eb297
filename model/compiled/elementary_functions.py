"""Elementary functions of compiled kernels, float32.

They call no library, so that loops over them are vectorised.
"""

from __future__ import annotations

import numpy as np

from model.compiled.array_types import F32
from model.compiled.jit import kernel, reduction

ONE, TWO = np.float32(1), np.float32(2)
_HALF, _LOG2_E, _ROUNDING_BIAS = np.float32(0.5), np.float32(1.4426950408889634), np.float32(128.5)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # their sum is ln 2; n * high is exact
_MAX_EXPONENT = np.float32(87)  # exp(87) and exp(-87) are finite and not denormal
_C3, _C4, _C5, _C6, _C7 = (np.float32(1 / n) for n in (6, 24, 120, 720, 5040))


@kernel
def expm1(x: np.float32) -> np.float32:
    """Return exp(x) - 1 to float32 precision.

    x is limited to +-87. x = n ln 2 + r with |r| <= ln 2 / 2, and exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1).
    """
    x = min(max(x, -_MAX_EXPONENT), _MAX_EXPONENT)
    n = np.int32(x * _LOG2_E + _ROUNDING_BIAS) - np.int32(128)  # the sum is positive, so truncation rounds x / ln 2
    power = np.int32((n + 127) << 23).view(np.float32)
    return power * _expm1_of_rest(x, n) + (power - ONE)


@kernel
def exp(x: np.float32) -> np.float32:
    """Return exp(x) to float32 precision, also where it is small."""
    x = min(max(x, -_MAX_EXPONENT), _MAX_EXPONENT)
    n = np.int32(x * _LOG2_E + _ROUNDING_BIAS) - np.int32(128)
    power = np.int32((n + 127) << 23).view(np.float32)
    return power * _expm1_of_rest(x, n) + power


@kernel
def _expm1_of_rest(x: np.float32, n: np.int32) -> np.float32:
    """Return exp(x - n ln 2) - 1 by its Taylor series."""
    r = x - np.float32(n) * _LN2_HIGH
    r = r - np.float32(n) * _LN2_LOW
    series = _C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * _C7)))
    return r + r * r * (_HALF + r * series)


@kernel
def sigmoid(x: np.float32) -> np.float32:
    """Return 1 / (1 + exp(-x)) to float32 precision."""
    return ONE / (TWO + expm1(-x))


@reduction
def sum_of(x: F32, n: int) -> np.float32:
    """Return the sum of the first `n` entries."""
    total = np.float32(0)
    for i in range(n):
        total += x[i]
    return total
