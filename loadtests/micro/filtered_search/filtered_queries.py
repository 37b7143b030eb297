"""Queries under filters, and what a search made of them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from loadtests.micro.engine_search import Floats, top_10_queries
from service.core.engine_requests import AllowedRows
from service.engine.search.top_k_queries import TopKQueries, TopKResult

Kind = Literal["random", "liked", "disliked"]

KINDS: tuple[Kind, ...] = ("random", "liked", "disliked")
BATCH = 64
_CATEGORIES = 200


class Categories:
    """Items by the nearest of a few hundred directions."""

    def __init__(self, table: Floats) -> None:
        self._directions = table[np.random.default_rng(0).integers(1, len(table), _CATEGORIES)]
        self._directions /= np.linalg.norm(self._directions, axis=1, keepdims=True)
        self.of_row = np.concatenate(
            [(part @ self._directions.T).argmax(axis=1) for part in np.array_split(table, 1 + len(table) // 100_000)]
        )

    def likes(self, user: Floats) -> Floats:
        """Return how much a user likes each category."""
        return self._directions @ user


def filtered_queries(categories: Categories, users: Floats, kind: Kind, selectivity: float) -> TopKQueries:
    """Return a batch of queries.

    Query n is of user n % 20, and has that user's filter.
    """
    rng = np.random.default_rng(1)
    own = np.arange(BATCH) % len(users)
    noise = 0.05 * np.linalg.norm(users, axis=1).mean() * rng.standard_normal((BATCH, users.shape[1]))
    filters = []
    for user in users:
        allowed = np.zeros(len(categories.of_row), np.bool_)
        order = 1 + rng.permutation(len(categories.of_row) - 1)
        if kind != "random":
            first = categories.likes(user) * (-1 if kind == "liked" else 1)
            order = order[np.argsort(first[categories.of_row[order]], kind="stable")]
        allowed[order[: max(1, round(selectivity * (len(categories.of_row) - 1)))]] = True
        filters.append(AllowedRows.of(allowed))
    vectors = (users[own] + noise).astype(np.float32)
    return top_10_queries(vectors)._replace(filters=tuple(filters), chosen=own)


def recall(found: TopKResult, expected: TopKResult) -> float:
    """Return the share of the expected rows that were found."""
    hits = sum(
        len(set(a[:m].tolist()) & set(b[:n].tolist()))
        for a, m, b, n in zip(found.rows, found.lengths, expected.rows, expected.lengths, strict=True)
    )
    return float(hits / max(1, expected.lengths.sum()))


def forbidden(queries: TopKQueries, found: TopKResult) -> int:
    """Return how many results the queries' filters forbid."""
    count = 0
    for best, length, number in zip(found.rows, found.lengths.tolist(), queries.chosen.tolist(), strict=True):
        rows = best[:length]
        bits = queries.filters[number].bitmap[rows >> 5] >> (rows & 31).astype(np.uint32)
        count += int((bits & 1 == 0).sum())
    return count
