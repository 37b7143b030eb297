"""Summary of the large catalogue."""

from __future__ import annotations

from loadtests.scenarios.large_catalogue import _summary


def test_summary_has_medians_and_the_errors_of_all_runs() -> None:
    steady = [
        {"achieved_per_s": rate, "latency_ms": {"p50": 1.0, "p90": p90, "p99": 9.0}, "errors": {}}
        for rate, p90 in ((500.0, 7.0), (490.0, 5.0), (499.0, 6.0))
    ]
    summary = _summary(steady, {"achieved_per_s": 900.0, "errors": {"503": 1}})
    assert (summary["achieved_per_s"], summary["p90_ms"], summary["capacity_per_s"]) == (499.0, 6.0, 900.0)
    assert summary["errors"] == [{"503": 1}]
