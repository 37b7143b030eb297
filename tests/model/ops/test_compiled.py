"""Functions of the CPU kernels, and their threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.ops.compiled import exp, expm1, run_rows, sigmoid


@pytest.mark.parametrize("name", ["exp", "expm1", "sigmoid"])
def test_function_has_float32_precision(name: str) -> None:
    function = {"exp": exp, "expm1": expm1, "sigmoid": sigmoid}[name]
    values = np.concatenate([np.linspace(-80, 80, 4001), np.geomspace(1e-30, 1e-3, 200)]).astype(np.float32)
    x = values.astype(np.float64)
    wanted = {"exp": np.exp(x), "expm1": np.expm1(x), "sigmoid": 1 / (1 + np.exp(-x))}[name]
    found = np.array([function(value) for value in values], np.float64)
    small = 1e-8 if name == "sigmoid" else 0.0  # 2 + expm1(-x) rounds to 1 below that
    assert np.all(np.abs(found - wanted) <= 3e-7 * np.abs(wanted) + small)


@pytest.mark.parametrize("value", [-1e30, -88.0, 88.0, 1e30])
def test_function_is_finite_beyond_its_range(value: float) -> None:
    assert all(np.isfinite(function(np.float32(value))) for function in (exp, expm1, sigmoid))


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
