"""Open and closed loop against a server in this process."""

from __future__ import annotations

import json

import numpy as np
import pytest

from loadtests.generator.generator import run_closed, run_open, schedule
from loadtests.generator.http_client import SERIAL, make_request
from tests.loadtests.tiny_server import TinyServer

READ = [make_request("read", "GET", "/")]


def test_even_schedule_has_equal_gaps_at_the_rate() -> None:
    even = schedule(200, 5, poisson=False, seed=1)
    assert len(even) == 1000
    assert np.allclose(np.diff(even), 1 / 200)


def test_poisson_schedule_has_exponential_gaps_at_the_rate() -> None:
    poisson = schedule(200, 50, poisson=True, seed=1)
    assert abs(len(poisson) - 10_000) < 500
    assert 0.9 < np.diff(poisson).std() * 200 < 1.1  # an exponential's deviation equals its mean
    assert (poisson == schedule(200, 50, poisson=True, seed=1)).all()


def test_every_request_is_sent_and_counted() -> None:
    requests = [make_request("write", "POST", "/", {"id": SERIAL.decode()}), *READ]
    with TinyServer() as server:
        summary = run_open(server.port, requests, schedule(400, 0.5, poisson=False, seed=1), 4).summary()
    assert summary["requests"] == len(server.bodies) == 200
    assert summary["errors"] == {}
    assert {kind: entry["requests"] for kind, entry in summary["by_kind"].items()} == {"read": 100, "write": 100}
    sent = [json.loads(body)["id"] for body in server.bodies if body]
    assert len(set(sent)) == 100


def test_stall_in_open_loop_delays_all_requests_due_meanwhile() -> None:
    """A generator that waits for answers would count one slow request here."""
    with TinyServer(stall_at=50, stall_seconds=0.5) as server:
        samples = run_open(server.port, READ, schedule(200, 1, poisson=False, seed=1), 2)
    latencies = samples.latencies
    assert len(latencies) == 200
    assert latencies.max() >= 0.49
    # 100 requests were due during the stall. Later ones waited less, so that latencies fall evenly.
    assert (latencies > 0.05).sum() >= 80
    assert (latencies > 0.25).sum() >= 40


def test_stall_in_closed_loop_delays_one_request_per_connection() -> None:
    with TinyServer(stall_at=50, stall_seconds=0.4) as server:
        samples = run_closed(server.port, READ, 0.8, 2)
    assert 1 <= (samples.latencies > 0.3).sum() <= 2
    assert samples.summary()["achieved_per_s"] > 0


@pytest.mark.parametrize("status", [429, 503])
def test_errors_are_counted_by_status(status: int) -> None:
    with TinyServer(status=status) as server:
        summary = run_open(server.port, READ, schedule(100, 0.2, poisson=False, seed=1), 2).summary()
    assert summary["errors"] == {str(status): 20}
    assert summary["achieved_per_s"] == 0


def test_broken_connection_costs_one_request() -> None:
    with TinyServer(close_at=10) as server:
        summary = run_open(server.port, READ, schedule(100, 0.4, poisson=False, seed=1), 2).summary()
    assert summary["requests"] == 40
    assert summary["errors"] == {"connection broke": 1}


def test_run_ends_without_answers_after_the_grace_time() -> None:
    with TinyServer(stall_at=1, stall_seconds=1.0) as server:
        due = schedule(50, 0.2, poisson=False, seed=1)
        summary = run_open(server.port, READ, due, 2, grace_seconds=0.2).summary()
    assert summary["errors"] == {"unanswered": 10}
    assert summary["latency_ms"]["max"] >= 200
