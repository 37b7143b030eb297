"""Queries and timing of the benchmark on a GPU."""

from __future__ import annotations

import time

import numpy as np

from loadtests.micro.torch_engine_bench import top_10_queries, wall_seconds
from service.engine.search.exact_top_k import exact_top_k


def test_each_query_excludes_rows_of_its_own() -> None:
    table = np.ones((41, 4), np.float32)
    rows = exact_top_k(table, top_10_queries(np.ones((2, 4), np.float32), seen=15, items=40)).rows
    assert rows.tolist() == [list(range(16, 26)), [*range(1, 11)]]


def test_wall_time_of_a_call_includes_waiting() -> None:
    assert 0.01 <= wall_seconds(lambda: time.sleep(0.01), min_seconds=0.01) < 0.1
