"""The benchmark of `exclude_events`, for a moment."""

from __future__ import annotations

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.micro.request_cost.exclude_events_cost import measure


def test_question_with_exclude_events_costs_more_the_longer_the_log_is() -> None:
    short, long = measure(DEMO_BUNDLE, ["1", "2", "3"], [10, 1_000], repeat=4)
    assert (short["events"], long["events"]) == (10, 1_000)
    assert long["with"]["cpu_ms"] > long["without"]["cpu_ms"]
    assert long["with"]["cpu_ms"] > short["with"]["cpu_ms"]
    assert long["with"]["longest_hold_ms"] > 0
