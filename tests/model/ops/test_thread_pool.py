"""Threads of the CPU kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.ops.thread_pool import run_rows


@pytest.mark.parametrize("rows", [1, 2, 3, 17])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_row_is_given_to_one_part(rows: int, threads: int) -> None:
    counts, before = torch.zeros(rows), torch.get_num_threads()

    def count(array: np.ndarray, first: int, last: int) -> None:
        array[first:last] += 1

    try:
        torch.set_num_threads(threads)
        run_rows(count, rows, counts)
    finally:
        torch.set_num_threads(before)
    assert counts.tolist() == [1.0] * rows


def test_error_of_a_part_is_raised() -> None:
    def fail(array: np.ndarray, first: int, last: int) -> None:
        if last == len(array):
            raise ValueError("the last part fails")

    with pytest.raises(ValueError, match="last part"):
        run_rows(fail, 8, torch.zeros(8))
