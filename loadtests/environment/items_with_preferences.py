"""Items with category and price, and filters that fit a taste."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["random", "liked", "disliked"]

KINDS: tuple[Kind, ...] = ("random", "liked", "disliked")
_CATEGORIES = 200
_MAX_PRICE = 100.0
_ROWS_AT_ONCE = 100_000
_STEP = 7919  # a prime number, so that prices have nothing to do with the rows' order

Floats = NDArray[np.float32]


class TastefulItems:
    """Category and price of each item of an embedding table.

    A category has the items nearest to one of some directions. Prices are evenly spread.

    Attributes:
        category: (V + 1,) the category of each row of the table (V + 1, D).
        price: (V + 1,) the price of each row.
    """

    def __init__(self, table: Floats) -> None:
        directions = table[np.random.default_rng(0).integers(1, len(table), _CATEGORIES)]
        self._directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        parts = np.array_split(table, 1 + len(table) // _ROWS_AT_ONCE)
        self.category = np.concatenate([(part @ self._directions.T).argmax(axis=1) for part in parts])
        self._items = len(table) - 1
        self.price = np.arange(len(table)) * _STEP % self._items * (_MAX_PRICE / self._items)

    def attributes_of(self, row: int) -> dict[str, Any]:
        """Return the attributes of a row's item."""
        return {"category": f"c{self.category[row]}", "price": float(self.price[row])}

    def rows_of(self, category: int) -> NDArray[np.int64]:
        """Return the rows of a category."""
        return 1 + np.flatnonzero(self.category[1:] == category)

    def chosen(self, kind: Kind, selectivity: float, vector: Floats, number: int) -> TastefulFilter:
        """Return filter `number` for a user.

        Args:
            kind: whether it allows random items, or those of the categories that the user likes most or least.
            selectivity: share of the items that it allows.
            vector: the user (D,).
            number: different numbers choose different random items.
        """
        if kind == "random":
            low = _MAX_PRICE * (1 - selectivity) * (number % 20) / 20
            return TastefulFilter(None, low, low + _MAX_PRICE * selectivity)
        likes = self._directions @ vector
        order = np.argsort(-likes if kind == "liked" else likes, kind="stable")
        counts = np.cumsum(np.bincount(self.category[1:], minlength=_CATEGORIES)[order])
        last = int(np.searchsorted(counts, selectivity * self._items))
        most = _MAX_PRICE * selectivity * self._items / float(counts[last])
        return TastefulFilter(tuple(order[: last + 1].tolist()), 0.0, most)

    def allowed(self, chosen: TastefulFilter) -> NDArray[np.bool_]:
        """Return (V + 1,) which rows a filter allows, without row 0."""
        allowed = (self.price >= chosen.low) & (self.price < chosen.high)
        if chosen.categories is not None:
            allowed &= np.isin(self.category, chosen.categories)
        allowed[0] = False
        return allowed


class TastefulFilter:
    """Range of prices, and perhaps categories."""

    def __init__(self, categories: tuple[int, ...] | None, low: float, high: float) -> None:
        self.categories, self.low, self.high = categories, round(low, 6), round(high, 6)

    @property
    def expression(self) -> str:
        """The filter as text."""
        text = f"price >= {self.low:.6f} AND price < {self.high:.6f}"
        if self.categories is None:
            return text
        listed = ", ".join(f"'c{category}'" for category in self.categories)
        return f"category IN ({listed}) AND {text}"
