"""Feature space: the columns into which an item's content is mapped.

    0..F-1       known keys of words, values and pairs (`feature_keys`), in ascending order of the keys
    next N       numbers and times: position within the training items' distribution, from -1 to 1
    next M       the shop's own vector, standardised

The features of one group share a length of 1, so that a long title counts no more than a short one. What an item
lacks, and what training has not seen, adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.content.feature_keys import VALUE, FeatureKey, feature_key, feature_keys
from model.content.item_content import ItemContent, as_number, kind_of

Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class NumberField:
    """Distribution of a numeric attribute.

    Attributes:
        name: the attribute.
        edges: ascending distinct quantiles of the training items' values, at least one.
    """

    name: str
    edges: tuple[float, ...]

    def position(self, value: float) -> float:
        """Return the position between the edges, from -1 to 1."""
        if len(self.edges) == 1:
            return float(np.sign(value - self.edges[0]))
        return float(np.interp(value, self.edges, np.linspace(-1.0, 1.0, len(self.edges))))

    def bucket(self, value: float) -> FeatureKey:
        """Return the key of the interval that holds the value."""
        return feature_key(VALUE, self.name, f"#{int(np.searchsorted(self.edges, value, side='right'))}")


@dataclass(frozen=True, slots=True)
class Features:
    """Sparse features of one item: (n,) columns and (n,) float32 values."""

    columns: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """Columns that content is mapped into.

    Attributes:
        kinds: kind of each known attribute.
        keys: (F,) known keys, ascending.
        numbers: distributions of the numeric attributes.
        vector_mean: (M,) mean of the shop's vectors; M is 0 if there are none.
        vector_scale: what standardised vectors are multiplied by.
    """

    kinds: Mapping[str, str]
    keys: Keys
    numbers: Sequence[NumberField]
    vector_mean: NDArray[np.float32]
    vector_scale: float

    @property
    def columns(self) -> int:
        """Number of columns."""
        return len(self.keys) + len(self.numbers) + len(self.vector_mean)

    def item_keys(self, content: ItemContent) -> Iterator[FeatureKey]:
        """Yield all keys of an item, also unknown ones."""
        yield from feature_keys(content, self.kinds)
        for field in self.numbers:
            if (value := self._number(content, field.name)) is not None:
                yield field.bucket(value)

    def features(self, content: ItemContent) -> Features:
        """Map an item's content into the columns."""
        columns, values = self._known(list(self.item_keys(content)))
        for index, field in enumerate(self.numbers, start=len(self.keys)):
            if (number := self._number(content, field.name)) is not None:
                columns.append(index)
                values.append(field.position(number))
        found = np.asarray(columns, np.int64), np.asarray(values, np.float32)
        vector = self._vector(content)
        if vector is None:
            return Features(*found)
        first = len(self.keys) + len(self.numbers)
        return Features(
            np.concatenate([found[0], np.arange(first, first + len(vector))]), np.concatenate([found[1], vector])
        )

    def _known(self, keys: list[FeatureKey]) -> tuple[list[int], list[float]]:
        """Return columns and values of the keys that are known."""
        hashes = np.array([each.key for each in keys], np.uint64)
        found_at = np.minimum(np.searchsorted(self.keys, hashes), max(0, len(self.keys) - 1))
        known = self.keys[found_at] == hashes if len(self.keys) else np.zeros(len(hashes), bool)
        members: dict[str, list[int]] = {}
        for each, column, is_known in zip(keys, found_at.tolist(), known.tolist(), strict=True):
            if is_known:
                members.setdefault(each.group, []).append(column)
        columns = [column for own in members.values() for column in own]
        return columns, [len(own) ** -0.5 for own in members.values() for _ in own]

    def _number(self, content: ItemContent, name: str) -> float | None:
        value = content.attributes.get(name)
        return as_number(value) if value is not None and kind_of(value) == self.kinds.get(name) else None

    def _vector(self, content: ItemContent) -> NDArray[np.float32] | None:
        vector = content.vector
        if vector is None or len(vector) != len(self.vector_mean) or not len(vector):
            return None
        standard = (np.asarray(vector, np.float64) - self.vector_mean) * self.vector_scale
        return np.clip(standard, -8.0, 8.0).astype(np.float32) if np.isfinite(standard).all() else None
