"""Benchmark of top-10 search under filters: time, recall and forbidden rows.

    python -m loadtests.micro.filtered_search [--items 1000000] [--out FOLDER]

Prints a table, and JSON in the last line; --out also writes filtered_search.json. Each batch has queries of 20
filters. A filter allows a share of the items: random ones, those of the categories that its users like, or those of
the categories that they like least. Times are CPU times per query, measured in alternation with the search without
filters; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from loadtests.environment.machine_info import machine_info
from loadtests.micro.engine_search import RECALL_GOAL, Floats, synthetic_catalogue, top_10_queries
from loadtests.micro.interleaved import ROUNDS, Measured, measure_interleaved
from service.core.engine_requests import AllowedRows
from service.engine.search.exact import exact_top_k
from service.engine.search.ivf_pq import IvfPqIndex
from service.engine.search.queries import TopKQueries, TopKResult

Kind = Literal["random", "liked", "disliked"]

SELECTIVITIES = (0.5, 0.1, 0.01, 0.001, 0.0001)
KINDS: tuple[Kind, ...] = ("random", "liked", "disliked")
FILTERS, BATCH = 20, 64
_BUILD_SAMPLES = 128
_CATEGORIES = 200
UNFILTERED = "unfiltered"


def measure(items: int) -> dict[str, Any]:
    """Measure one catalogue; return a dictionary ready for JSON."""
    table, vectors = synthetic_catalogue(items)
    index = IvfPqIndex.build(table, vectors[:_BUILD_SAMPLES], RECALL_GOAL)
    search = index.top_k if index else partial(exact_top_k, table)
    users = vectors[_BUILD_SAMPLES : _BUILD_SAMPLES + FILTERS]
    categories = Categories(table)
    rows: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for selectivity in SELECTIVITIES:
            queries = filtered_queries(categories, users, kind, selectivity)
            found, expected = search(queries), exact_top_k(table, queries)
            plain = queries.unfiltered()
            calls = {UNFILTERED: partial(search, plain), "filtered": partial(search, queries)}
            times = measure_interleaved({name: Measured(call, BATCH) for name, call in calls.items()})
            rows[f"{kind} {selectivity:.2%}"] = {
                "us": round(statistics.median(times["filtered"]), 1),
                "unfiltered_us": round(statistics.median(times[UNFILTERED]), 1),
                "throughput_ratio": round(
                    statistics.median(a / b for a, b in zip(times[UNFILTERED], times["filtered"], strict=True)), 3
                ),
                "recall@10": round(recall(found, expected), 4),
                "forbidden": forbidden(queries, found),
            }
    return {
        "scenario": "filtered_search",
        "command": "python -m loadtests.micro.filtered_search " + shlex.join(sys.argv[1:]),
        "summary": rows,
        "conditions": machine_info() | {"items": items, "filters": FILTERS, "batch": BATCH, "rounds": ROUNDS},
    }


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


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000, help="items of the catalogue")
    parser.add_argument("--out", type=Path, help="folder of filtered_search.json")
    arguments = parser.parse_args()
    with threadpool_limits(limits=1, user_api="blas"):
        result = measure(arguments.items)
    for name, row in result["summary"].items():
        print(f"{name:<20}", *(f"{key}={value}" for key, value in row.items()), sep="  ")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "filtered_search.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
