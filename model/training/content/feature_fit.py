"""Fit a feature space to the content of training items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.content.feature_keys import CATEGORY, VALUE
from model.content.feature_space import FeatureSpace, NumberField
from model.content.item_content import NUMBER, TIME, ItemContent, as_number, kind_of

# Most keys of a space; the most frequent are kept. At 64 dimensions their weights take 25 MB.
MAX_KEYS = 100_000
_EDGES = 17  # quantiles of a number
# A value helps new items also if only one trained item has it. A word or a pair of one item is noise.
_MIN_ITEMS = 2
_NO_VECTOR = np.zeros(0, np.float32)


def fit_feature_space(contents: Sequence[ItemContent]) -> FeatureSpace:
    """Fit the space to the content of trained items."""
    kinds = _kinds(contents)
    numbers = tuple(
        NumberField(name, _edges([as_number(value) for value in _values(contents, name, kind)]))
        for name, kind in sorted(kinds.items())
        if kind in (NUMBER, TIME)
    )
    mean, scale = _vector_moments(contents)
    empty = FeatureSpace(kinds, np.zeros(0, np.uint64), numbers, mean, scale)
    counts: Counter[int] = Counter()
    single: set[int] = set()
    for content in contents:
        for group, key in empty.item_keys(content):
            counts[key] += 1
            if group.startswith((CATEGORY, VALUE)):
                single.add(key)
    kept = [(count, key) for key, count in counts.items() if count >= _MIN_ITEMS or key in single]
    kept = sorted(kept, key=lambda each: (-each[0], each[1]))[:MAX_KEYS]
    return FeatureSpace(kinds, np.array(sorted(key for _, key in kept), np.uint64), numbers, mean, scale)


def _kinds(contents: Sequence[ItemContent]) -> dict[str, str]:
    """Return the commonest kind of each attribute."""
    found: dict[str, Counter[str]] = {}
    for content in contents:
        for name, value in content.attributes.items():
            if (kind := kind_of(value)) is not None:
                found.setdefault(name, Counter())[kind] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in sorted(found.items())}


def _values(contents: Sequence[ItemContent], name: str, kind: str) -> list[float]:
    values = (content.attributes.get(name) for content in contents)
    return [value for value in values if value is not None and kind_of(value) == kind]


def _edges(values: Sequence[float]) -> tuple[float, ...]:
    quantiles = np.quantile(np.array(values), np.linspace(0.0, 1.0, _EDGES), method="inverted_cdf")
    return tuple(np.unique(quantiles).tolist())


def _vector_moments(contents: Sequence[ItemContent]) -> tuple[NDArray[np.float32], float]:
    """Return mean and inverse spread of the vectors.

    Vectors of another length than most are left out.
    """
    lengths = Counter(len(content.vector) for content in contents if content.vector is not None)
    if not lengths or not (length := lengths.most_common(1)[0][0]):
        return _NO_VECTOR, 1.0
    own = [content.vector for content in contents if content.vector is not None and len(content.vector) == length]
    vectors = np.array([vector for vector in own if np.isfinite(vector).all()], np.float64)
    if not len(vectors):
        return _NO_VECTOR, 1.0
    mean = vectors.mean(0)
    size = float(np.sqrt(((vectors - mean) ** 2).sum(1).mean()))
    return mean.astype(np.float32), 1.0 / size if size > 0.0 else 1.0
