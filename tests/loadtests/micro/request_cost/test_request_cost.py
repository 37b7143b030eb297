"""Benchmarks of one part of the request path, for a moment each."""

from __future__ import annotations

from types import ModuleType

import pytest

from loadtests.micro.request_cost import access_log_cost, recommendation_id_cost


@pytest.mark.parametrize("benchmark", [access_log_cost, recommendation_id_cost])
def test_benchmark_compares_reads_with_and_without(benchmark: ModuleType) -> None:
    figures = benchmark.measure(min_seconds=0.001)
    assert set(figures["cpu_us_per_request"]) == {"with", "without"}
    assert all(value > 0 for value in figures["cpu_us_per_request"].values())
    assert figures["ratio"] > 0
