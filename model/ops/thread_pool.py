"""Threads of training's CPU kernels.

A kernel works on a range of rows. `run_rows` divides the rows among as many threads as torch uses.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor


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
