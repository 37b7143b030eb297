"""Locust's statistics in the shape of the other scenarios."""

from __future__ import annotations

import os

from loadtests.environment.servers import RedisServer, Server
from loadtests.generator.experiment import ServiceUnderTest
from loadtests.locust.headless import _as_run

ENTRIES = [
    {
        "name": "event",
        "num_requests": 90,
        "num_failures": 1,
        "start_time": 100.0,
        "last_request_timestamp": 109.0,
        "response_times": {"2": 80, "5": 10},
    },
    {
        "name": "read",
        "num_requests": 10,
        "num_failures": 0,
        "start_time": 100.0,
        "last_request_timestamp": 110.0,
        "response_times": {"3": 9, "70": 1},
    },
]


def test_statistics_of_all_requests_are_merged() -> None:
    tested = ServiceUnderTest("recblr", Server(1, os.getpid()), RedisServer(2, os.getpid()))
    run = _as_run(ENTRIES, "open loop", {"server": 0.5, "locust": 0.2, "others": 0.1}, tested)
    assert (run["requests"], run["seconds"], run["achieved_per_s"]) == (100, 10.0, 9.9)
    assert run["errors"] == {"failed": 1}
    assert run["latency_ms"] == {"p50": 2.0, "p90": 5.0, "p99": 5.0, "p99.9": 70.0, "max": 70.0}
    assert run["by_kind"]["read"]["latency_ms"]["p90"] == 3.0
    assert run["cpu_us_per_request"] == {"server": 5000.0, "redis": 0.0, "client": 2000.0}
    assert run["memory_mb"]["server"]["rss"] > 0
