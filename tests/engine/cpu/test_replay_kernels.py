"""Building blocks of the CPU kernels against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from service.engine.cpu.elementwise_kernels import add_norm, silu
from service.engine.cpu.product_kernels import product
from service.engine.cpu.recurrence_kernels import keep_last_rows
from service.engine.cpu.replay_kernels import ROWS
from service.engine.cpu.weights import PANEL, pad_to_panels, to_panels

VALUES = np.concatenate([np.linspace(-86, 86, 2001), [0.0, 1e-7, -1e-7, 1e-30, -1e-30]]).astype(np.float32)


def test_silu_is_x_times_sigmoid() -> None:
    found = VALUES.copy()
    silu(found)
    wanted = VALUES.astype(np.float64) / (1 + np.exp(-VALUES.astype(np.float64)))
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-30)


def test_layer_norm_ignores_the_padding() -> None:
    rng = np.random.default_rng(0)
    x, other, norm = (rng.standard_normal(shape).astype(np.float32) for shape in (64, 64, (2, 64)))
    x[40:] = other[40:] = norm[:, 40:] = 0
    total = (x + other).astype(np.float64)[:40]
    wanted = (total - total.mean()) / total.std() * norm[0, :40] + norm[1, :40]
    add_norm(x, other, norm.ravel(), 40)
    assert x[:40] == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert not x[40:].any()


@pytest.mark.parametrize("n", range(1, ROWS + 1))
def test_product_of_any_number_of_rows(n: int) -> None:
    rng = np.random.default_rng(n)
    matrix, bias = rng.standard_normal((100, 50)).astype(np.float32), rng.standard_normal(100).astype(np.float32)
    inputs, outputs = pad_to_panels(50), pad_to_panels(100)
    x = np.zeros((ROWS, inputs), np.float32)
    x[:n, :50] = rng.standard_normal((n, 50))
    y = np.full((ROWS, outputs), 7, np.float32)
    product(x, n, to_panels(matrix, bias, inputs, outputs).ravel(), np.empty(4 * PANEL, np.float32), y)
    assert y[:n, :100] == pytest.approx(x[:n, :50].astype(np.float64) @ matrix.T + bias, rel=1e-4, abs=1e-4)
    assert not y[:n, 100:].any()


@pytest.mark.parametrize(
    ("owners", "last"),
    [([0], [0]), ([0, 0, 0], [2]), ([0, 1, 1, 2], [0, 2, 3]), ([3, 3, 5, 5, 5], [1, 4])],
)
def test_each_users_last_row_is_kept(owners: list[int], last: list[int]) -> None:
    n = len(owners)
    x, users = np.arange(n, dtype=np.float32)[:, None].repeat(2, 1), np.array(owners)
    u = x + 10
    assert keep_last_rows(np.array(owners), users, n, x, u) == len(last)
    assert x[: len(last), 0].tolist() == last
    assert u[: len(last), 0].tolist() == [row + 10 for row in last]
    assert users[: len(last)].tolist() == [owners[row] for row in last]


def test_row_whose_user_goes_on_in_the_next_block_is_not_kept() -> None:
    users, x = np.array([0, 1]), np.zeros((2, 2), np.float32)
    assert keep_last_rows(np.array([0, 1, 1]), users, 2, x, x.copy()) == 1
