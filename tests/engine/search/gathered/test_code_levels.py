"""Levels of four-bit codes."""

from __future__ import annotations

import numpy as np

from service.engine.search.gathered.code_levels import train_levels


def error_of(levels: np.ndarray, values: np.ndarray) -> float:
    return float(np.mean(np.abs(values[:, None] - levels).min(axis=1) ** 2))


def test_levels_are_ascending_and_better_than_evenly_spaced_ones() -> None:
    vectors = np.random.default_rng(0).standard_normal((5000, 3)).astype(np.float32)
    levels = train_levels(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    assert (np.diff(levels) > 0).all()
    normal = np.random.default_rng(1).laplace(size=5000).astype(np.float32)
    (laplace,) = train_levels(normal[:, None] + 0.0)
    assert error_of(laplace, normal[np.abs(normal) > 4]) < error_of(
        np.linspace(-2, 2, 16), normal[np.abs(normal) > 4]
    )


def test_long_vectors_have_levels_of_their_own() -> None:
    rng = np.random.default_rng(0)
    short, long = rng.standard_normal((5000, 4)), 5 * rng.standard_normal((50, 4))
    levels = train_levels(np.concatenate([short, long]).astype(np.float32))
    assert levels.max() > 6
    assert levels.min() < -6


def test_constant_dimension_has_its_value_as_a_level() -> None:
    levels = train_levels(np.full((100, 2), 0.25, np.float32))
    assert np.abs(levels - 0.25).min() < 1e-6
    assert np.isfinite(train_levels(np.zeros((10, 2), np.float32))).all()
