"""Elementary functions against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from model.compiled.elementary_functions import exp, expm1, sigmoid, sum_of

VALUES = np.concatenate([np.linspace(-86, 86, 2001), [0.0, 1e-7, -1e-7, 1e-30, -1e-30]]).astype(np.float32)


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


def test_expm1_is_precise_relative_to_itself() -> None:
    found = np.array([expm1(value) for value in VALUES], np.float64)
    assert found == pytest.approx(np.expm1(VALUES.astype(np.float64)), rel=1e-6)


@pytest.mark.parametrize("value", [-1e30, -200, 200, 1e30])
def test_sigmoid_is_finite_far_from_zero(value: float) -> None:
    assert sigmoid(np.float32(value)) == pytest.approx(0.0 if value < 0 else 1.0, abs=1e-30)


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_sum_has_every_entry_once(count: int) -> None:
    values = np.arange(1, count + 10, dtype=np.float32)
    assert sum_of(values, count) == count * (count + 1) / 2
