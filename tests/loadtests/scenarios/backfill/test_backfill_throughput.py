"""Throughput of backfills."""

from __future__ import annotations

from loadtests.scenarios.backfill.backfill_throughput import throughput


def test_throughput_is_scaled_to_stores_of_200_events_per_user() -> None:
    assert throughput(100_000, 2.0) == {
        "seconds": 2.0,
        "events_per_s": 50_000,
        "hours": {"1M users": 1.11, "100M users": 111.11},
    }
