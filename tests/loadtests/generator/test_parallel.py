"""Load generators in several processes, against a small server."""

from __future__ import annotations

from loadtests.generator.http_client import make_request
from loadtests.generator.parallel import run_closed_in_parallel, run_open_in_parallel
from tests.loadtests.tiny_server import TinyServer

REQUESTS = [[make_request("read", "GET", f"/ok?{n}")] for n in range(3)]


def test_closed_loop_adds_the_answers_of_all_processes() -> None:
    with TinyServer() as server:
        summary = run_closed_in_parallel(server.port, REQUESTS, 0.3, 6).summary()
    assert summary["requests"] >= 6
    assert summary["errors"] == {}
    assert summary["achieved_per_s"] > 0


def test_open_loop_sends_the_rate_of_all_processes_together() -> None:
    with TinyServer() as server:
        summary = run_open_in_parallel(
            server.port, REQUESTS, rate=300.0, seconds=0.5, connections=9, seed=1
        ).summary()
    assert 90 <= summary["requests"] <= 210  # 150 are due
    assert summary["errors"] == {}
