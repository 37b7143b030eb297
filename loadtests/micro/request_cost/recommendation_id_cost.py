"""Benchmark of recommendation ids: CPU per request with them and without.

    python -m loadtests.micro.request_cost.recommendation_id_cost

A server on Redis answers reads, and events with top-10, 32 at a time. Signals turn its ids on and off, in alternation
(`switched_ids`). Prints JSON for each kind of request: CPU microseconds of the server per request, and the ratio;
medians of the rounds, and the median ratio of each start of the server.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from loadtests.environment.processes import cpu_seconds, free_port
from loadtests.environment.servers import DEMO_BUNDLE, RedisSettings, Server, http_server, redis_server
from loadtests.generator.generator import run_closed
from loadtests.generator.http_client import Request, make_request
from loadtests.generator.workload import event_requests, zipf_histories
from model.bundle.bundle import load_bundle

SIGNALS = {"with": signal.SIGUSR2, "without": signal.SIGUSR1}
STARTS, ROUNDS, USERS, IN_FLIGHT = 3, 24, 500, 32
RUN = "ids"  # prefix of the users


def measure(seconds: float, starts: int = STARTS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the figures; each measurement takes `seconds`."""
    histories = zipf_histories([item.item_id for item in load_bundle(DEMO_BUNDLE).items], USERS, 1)
    kinds = {
        "event": event_requests(histories, 20_000, RUN, 1),
        "read": [make_request("read", "GET", f"/v1/users/{RUN}-{n}/recommendations?k=10") for n in range(USERS)],
    }
    found: dict[str, list[list[dict[str, float]]]] = {kind: [] for kind in kinds}
    for _ in range(starts):
        with _switched_server() as server:
            for kind, requests in kinds.items():
                found[kind].append(_alternating(server, requests, seconds, rounds))
    return {kind: _figures(costs) for kind, costs in found.items()}


@contextmanager
def _switched_server() -> Iterator[Server]:
    with redis_server(RedisSettings("everysec")) as redis:
        port = free_port()
        settings = {
            "RECBLR_PORT": str(port),
            "RECBLR_STATE_URL": redis.url,
            "RECBLR_BUNDLE": str(DEMO_BUNDLE),
            "RECBLR_LOG_LEVEL": "warning",
            "RECBLR_ID_KEYS": "k" * 32,
        }
        command = [sys.executable, "-m", "loadtests.micro.request_cost.switched_ids"]
        with http_server("recblr", command, settings, port, "/readyz") as server:
            yield server


def _alternating(server: Server, requests: Sequence[Request], seconds: float, rounds: int) -> list[dict[str, float]]:
    """Return CPU microseconds per request of each round.

    The first round does not count.
    """
    costs = []
    for n in range(rounds + 1):
        cost = {}
        for name in list(SIGNALS)[:: -1 if n % 2 else 1]:
            os.kill(server.pid, SIGNALS[name])
            _check(server, has_id=name == "with")
            before = cpu_seconds([server.pid])
            summary = run_closed(server.port, requests, seconds, IN_FLIGHT).summary()
            if any(summary["errors"].values()):
                raise SystemExit(f"requests failed: {summary['errors']}")
            cost[name] = 1e6 * (cpu_seconds([server.pid]) - before) / max(1, summary["requests"])
        costs.append(cost)
    return costs[1:]


def _check(server: Server, *, has_id: bool) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v1/users/ann/recommendations") as answer:
        if ("recommendation_id" in json.load(answer)) != has_id:
            raise SystemExit("an answer has an id where it should not, or has none")


def _figures(starts: Sequence[Sequence[dict[str, float]]]) -> dict[str, Any]:
    rounds = [cost for costs in starts for cost in costs]
    return {
        "cpu_us_per_request": {name: round(median(cost[name] for cost in rounds), 1) for name in SIGNALS},
        "ratio": round(median(cost["with"] / max(cost["without"], 1e-9) for cost in rounds), 4),
        "ratio_of_each_start": [
            round(median(cost["with"] / max(cost["without"], 1e-9) for cost in costs), 4) for costs in starts
        ],
    }


if __name__ == "__main__":
    print(json.dumps(measure(seconds=0.5)))
