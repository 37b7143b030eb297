"""Ratios of filtered questions to unfiltered ones."""

from __future__ import annotations

from typing import Any

from loadtests.scenarios.filtered_questions.throughput_ratios import _ratios


def run(rate: float, cpu: float, errors: int = 0) -> dict[str, Any]:
    found = {"503": errors} if errors else {}
    return {"achieved_per_s": rate, "cpu_us_per_request": {"server": cpu}, "errors": found}


def test_ratios_are_medians_of_neighbouring_runs() -> None:
    pairs = [
        [run(1000, 300), run(500, 600)],
        [run(100, 300), run(90, 400, errors=3)],
        [run(1000, 330), run(800, 300)],
    ]
    assert _ratios(pairs) == {
        "throughput_ratio": 0.8,
        "cpu_ratio": 0.75,
        "cpu_us": 400,
        "unfiltered_cpu_us": 300,
        "errors": 3,
    }
