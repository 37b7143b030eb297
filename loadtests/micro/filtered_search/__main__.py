"""Benchmark of top-10 search under filters: time, recall and forbidden rows.

    python -m loadtests.micro.filtered_search [--items 1000000] [--out FOLDER]

Prints a table, and JSON in the last line; --out also writes filtered_search.json. Each batch has queries of 20
filters. A filter allows a share of the items: random ones, those of the categories that its users like, or those of
the categories that they like least. Times are CPU times per query, measured in alternation with the search without
filters; a ratio is the median of the rounds' ratios. The search is asked often enough before to gather the rows of
the filters, if it ever does.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from loadtests.environment.machine_info import machine_info
from loadtests.micro.engine_search import RECALL_GOAL, synthetic_catalogue
from loadtests.micro.filtered_search.filtered_queries import (
    BATCH,
    KINDS,
    Categories,
    filtered_queries,
    forbidden,
    recall,
)
from loadtests.micro.interleaved import ROUNDS, Measured, measure_interleaved
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.ivf_pq import IvfPqIndex

SELECTIVITIES = (0.5, 0.1, 0.01, 0.001, 0.0001)
FILTERS = 20
_BUILD_SAMPLES = 128
_WARM_UPS = 60  # each filter has 3 queries a batch, and gathers its rows after some 40 to 100
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
            for _ in range(_WARM_UPS):
                search(queries)
            if index is not None:
                index.wait()
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
