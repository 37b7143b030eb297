"""Ratios of the engine benchmark."""

from __future__ import annotations

from loadtests.micro.engine_benchmark import speedups


def test_each_figure_is_compared_with_its_own_reference() -> None:
    times = {
        "torch eager, batch of 1: us/event": [100.0, 200.0, 300.0],
        "step, batch of 32: us/event": [10.0, 10.0, 10.0],
        "9 items, torch matmul + topk, batch of 16: us/query": [8.0, 8.0, 8.0],
        "9 items, exact, batch of 16: us/query": [4.0, 4.0, 2.0],
        "9 items, approximate, 0 seen, batch of 1: us/query": [1.0, 1.0, 1.0],
    }
    assert speedups(times) == {"step, batch of 32": 20.0, "9 items, exact, batch of 16": 2.0}
