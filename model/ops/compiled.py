"""Compilation of training's CPU kernels, and their elementary functions.

A kernel works on a range of rows. `run_rows` divides the rows among as many threads as torch uses.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from torch import Tensor

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

ONE, TWO = np.float32(1), np.float32(2)
_HALF, _LOG2_E, _ROUNDING_BIAS = np.float32(0.5), np.float32(1.4426950408889634), np.float32(128.5)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # their sum is ln 2; n * high is exact
_MAX_EXPONENT = np.float32(87)  # exp(87) and exp(-87) are finite and not denormal
_C3, _C4, _C5, _C6, _C7 = (np.float32(1 / n) for n in (6, 24, 120, 720, 5040))


def kernel(function: Kernel) -> Kernel:
    """Compile at the first call, without the GIL.

    Multiplications and additions may be fused; the order of operations stays as written.
    """
    return _compile(function, {"contract"})


def reduction(function: Kernel) -> Kernel:
    """Compile a function that only reduces over an axis.

    Unlike in `kernel`, operations may be reordered, so that they are vectorised.
    """
    return _compile(function, {"contract", "reassoc", "nsz", "nnan"})


def _compile(function: Kernel, fast_math: set[str]) -> Kernel:
    options: dict[str, Any] = {"nogil": True, "fastmath": fast_math, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no writable folder for machine code
        return numba.njit(**options)(function)  # type: ignore[no-any-return]


@kernel
def expm1(x: np.float32) -> np.float32:
    """Return exp(x) - 1 to float32 precision.

    The function calls no library, so that loops over it are vectorised.

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


class _Threads:
    """Threads of the kernels, started when first needed."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0

    def run(self, call: Callable[..., None], rows: int, arguments: tuple[Any, ...]) -> None:
        size = min(torch.get_num_threads(), rows)
        if size < 2:
            call(*arguments, 0, rows)
            return
        if self._pool is None or self._size < size - 1:
            self._pool, self._size = ThreadPoolExecutor(size - 1, thread_name_prefix="kernel"), size - 1
        cuts = [rows * part // size for part in range(size + 1)]
        others = [self._pool.submit(call, *arguments, *cuts[part : part + 2]) for part in range(1, size)]
        call(*arguments, cuts[0], cuts[1])
        for other in others:
            other.result()


_threads = _Threads()


def run_rows(call: Callable[..., None], rows: int, *arguments: Tensor | np.float32) -> None:
    """Run a kernel over rows 0 to `rows`, in parts by thread.

    The kernel takes the tensors as arrays, then the first row of its part and the first after it.
    """
    arrays = tuple(value.detach().numpy() if isinstance(value, Tensor) else value for value in arguments)
    _threads.run(call, rows, arrays)
