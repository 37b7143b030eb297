"""Benchmarks of one part of the request path, for a moment each."""

from __future__ import annotations

from typing import Any

from loadtests.micro.request_cost import access_log_cost, recommendation_id_cost


def test_access_log_is_compared_with_none() -> None:
    assert_compared(access_log_cost.measure(min_seconds=0.001))


def test_answers_with_ids_are_compared_with_answers_without() -> None:
    figures = recommendation_id_cost.measure(seconds=0.1, starts=1, rounds=1)
    assert set(figures) == {"event", "read"}
    for of_kind in figures.values():
        assert_compared(of_kind)
        assert len(of_kind["ratio_of_each_start"]) == 1


def assert_compared(figures: dict[str, Any]) -> None:
    assert set(figures["cpu_us_per_request"]) == {"with", "without"}
    assert all(value > 0 for value in figures["cpu_us_per_request"].values())
    assert figures["ratio"] > 0
