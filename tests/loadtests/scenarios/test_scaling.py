"""Summary of the scaling scenarios."""

from __future__ import annotations

from typing import Any

from loadtests.scenarios.scaling import _by_size


def run(loop: str, size: int, p50: float, rate: float = 1.0) -> dict[str, Any]:
    return {
        "loop": loop,
        "x": size,
        "achieved_per_s": rate,
        "errors": {"503": 1} if p50 > 50 else {},
        "latency_ms": {"p50": p50, "p90": 2 * p50, "p99": 3 * p50},
        "memory_mb": {"server": {"pss": size / 10}},
    }


def test_latency_is_the_median_of_the_open_loops_of_each_size() -> None:
    runs = [run("open", size, p50) for size in (10, 20) for p50 in (1.0, 60.0, size / 5)]
    results = _by_size(runs, "items")
    assert results["summary"]["p50_ms"] == {"10": 2.0, "20": 4.0}
    assert results["summary"]["p99_ms"] == {"10": 6.0, "20": 12.0}
    assert results["summary"]["errors"] == 2
    assert results["summary"]["server_pss_mb"] == {"10": 1.0, "20": 2.0}
    assert "capacity_per_s" not in results["summary"]
    assert [chart["title"] for chart in results["charts"]] == ["Latency"]


def test_capacity_is_the_rate_of_the_closed_loop() -> None:
    runs = [run("open", 10, 1.0), run("closed", 10, 9.0, 500.0)]
    results = _by_size(runs, "items")
    assert results["summary"]["capacity_per_s"] == {"10": 500.0}
    assert results["charts"][1]["lines"] == {"": [(10, 500.0)]}
