"""Levels that stand for the numbers of a dimension in four-bit codes."""

from __future__ import annotations

import numpy as np

from model.compiled.array_types import F32

CODE_VALUES = 16
# A row counts with this power of its length: the best rows of a query are long, and need levels of their own.
_LENGTH_POWER = 8
_ROUNDS = 12
_TINY = 1e-30


def train_levels(vectors: F32) -> F32:
    """Return the levels (D, 16) of vectors (N, D), ascending.

    They have the least squared error that Lloyd's algorithm finds, with weights by length.
    """
    lengths = np.linalg.norm(vectors, axis=1).astype(np.float64)
    weights = (lengths / max(lengths.max(initial=0.0), _TINY)) ** _LENGTH_POWER + _TINY
    levels = np.empty((vectors.shape[1], CODE_VALUES), np.float32)
    for d in range(vectors.shape[1]):
        order = np.argsort(vectors[:, d])
        values, mass = vectors[order, d].astype(np.float64), np.concatenate([[0.0], np.cumsum(weights[order])])
        moment = np.concatenate([[0.0], np.cumsum(weights[order] * values)])
        middles = (np.arange(CODE_VALUES) + 0.5) / CODE_VALUES
        own = np.interp(middles * mass[-1], mass[1:], values)
        for _ in range(_ROUNDS):
            inner = np.searchsorted(values, (own[1:] + own[:-1]) / 2)
            edges = np.concatenate([[0], inner, [len(values)]])
            masses = np.diff(mass[edges])
            own = np.where(masses > 0, np.diff(moment[edges]) / np.maximum(masses, _TINY), own)
        levels[d] = np.sort(own)
    return levels
