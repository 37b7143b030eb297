"""Benchmark of following changes on a small catalogue."""

from __future__ import annotations

import asyncio

from loadtests.micro.catalogue_start import following


def test_both_workers_follow_the_switches() -> None:
    found = asyncio.run(following.measure(3000, 3.0))
    assert found["items"] == 3000
    for worker in found["workers"]:
        assert worker["changes"] > 0 and worker["questions"] > 0
        assert 0 < worker["delay_ms"]["p50"] <= worker["delay_ms"]["p99"]
