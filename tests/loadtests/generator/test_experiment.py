"""Measurements as dictionaries."""

from __future__ import annotations

import os

from loadtests.environment.servers import DEMO_BUNDLE, RedisSettings, Server
from loadtests.generator.experiment import (
    Options,
    ServerUnderTest,
    capacity,
    errors_of,
    measure_closed_loop,
    measure_open_loop,
)
from loadtests.generator.workload import Histories, event_requests
from tests.loadtests.tiny_server import TinyServer

HISTORIES = Histories([["1", "2", "3"], ["4", "5"]])
OPTIONS = Options(DEMO_BUNDLE, ["1"], HISTORIES, RedisSettings(), seconds=0.3, warmup=0.1, connections=4, in_flight=2)


def test_open_loop_reports_rate_latency_cpu_and_memory() -> None:
    with TinyServer() as server:
        tested = ServerUnderTest("tiny", Server(server.port, os.getpid()))
        run = measure_open_loop(tested, event_requests(HISTORIES, 10, "run", 1), OPTIONS, 200)
    assert (run["loop"], run["offered_per_s"], run["errors"]) == ("open", 200, {})
    assert list(run["latency_ms"]) == ["p50", "p90", "p99", "p99.9", "max"]
    assert set(run["cpu_us_per_request"]) == {"server", "client"}
    assert "others" in run["cpu_s"]
    assert run["memory_mb"]["server"]["rss"] > 0


def test_closed_loop_reports_capacity() -> None:
    with TinyServer() as server:
        tested = ServerUnderTest("tiny", Server(server.port, os.getpid()))
        run = measure_closed_loop(tested, event_requests(HISTORIES, 10, "run", 1), OPTIONS, 0.3)
    assert (run["loop"], run["connections"]) == ("closed", 2)
    assert capacity([run], "tiny") == round(run["achieved_per_s"], 1) > 0


def test_capacity_is_the_median_of_the_closed_loops_of_one_server() -> None:
    runs = [{"server": "a", "loop": "closed", "achieved_per_s": rate} for rate in (10.0, 30.0, 20.0)]
    others = [
        {"server": "b", "loop": "closed", "achieved_per_s": 99.0},
        {"server": "a", "loop": "open", "achieved_per_s": 1.0},
    ]
    assert capacity([*runs, *others], "a") == 20.0


def test_errors_are_those_of_failed_runs_alone() -> None:
    assert errors_of([{"errors": {}}, {"errors": {"503": 2}}]) == [{"503": 2}]
