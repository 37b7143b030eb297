"""Summary of the soak."""

from __future__ import annotations

from typing import Any

from loadtests.scenarios.steady_latency import _soak_results


def part(p99: float, pss: float, errors: dict[str, int]) -> dict[str, Any]:
    return {
        "requests": 100,
        "achieved_per_s": 70.0,
        "errors": errors,
        "latency_ms": {"p99": p99},
        "memory_mb": {"server": {"pss": pss}, "redis": {"pss": 1.0}},
    }


def test_soak_compares_the_last_part_with_the_first() -> None:
    parts = [part(10.0, 200.0, {}), part(50.0, 230.0, {"503": 2}), part(12.0, 210.0, {})]
    results = _soak_results({"achieved_per_s": 100.0}, parts, 70, [1.0, 2.0, 3.0])
    summary = results["summary"]
    assert (summary["last_to_first_p99"], summary["last_to_first_pss"]) == (1.2, 1.05)
    assert summary["errors"] == [{"503": 2}]
    assert summary["requests"] == 300
    assert results["charts"][1]["lines"] == {"": [(1.0, 10.0), (2.0, 50.0), (3.0, 12.0)]}
