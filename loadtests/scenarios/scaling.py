"""Latency by length of history, size of catalogue, users and workers."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.environment.processes import CpuMeter
from loadtests.environment.redis_cluster import RedisCluster, redis_cluster
from loadtests.environment.seed_store import seed_store
from loadtests.environment.servers import Server, recblr_server, start_timeout_seconds
from loadtests.environment.synthetic_catalogue import write_catalogue
from loadtests.generator.experiment import (
    PREPARED_REQUESTS,
    Options,
    Run,
    ServerUnderTest,
    ServiceUnderTest,
    measure_closed_loop,
    measure_open_loop,
    run_of,
    service_under_test,
)
from loadtests.generator.http_client import Request, request_json
from loadtests.generator.parallel import run_closed_in_parallel, run_open_in_parallel
from loadtests.generator.workload import event_request, event_requests, zipf_histories
from service.settings import Settings

SYNTHETIC_USERS = 2_000
# Highest rate (requests/s) where single requests are compared and the machine must not be loaded.
MAX_UNLOADED_RATE = 100.0
MAX_CAPACITY_SECONDS = 10.0
CORES_OF_A_GENERATOR = 3


def history(options: Options) -> dict[str, Any]:
    """Measure latency for users with 10, 1,000 and 100,000 events.

    The step costs the same for all, so the latency must be equal.

    The log keeps the newest RECBLR_EVENTS_KEPT events (1,000 by default), and the state has replayed those. There are
    enough users that their histories hardly grow during the run. The sizes are measured in alternation, so that
    other load on the machine meets all of them.
    """
    sizes = options.sizes or (10, 1_000, 100_000)
    rate = min(options.rate, MAX_UNLOADED_RATE)
    runs = []
    with service_under_test(options) as tested:
        requests = {size: _requests_of_users_with(size, tested, options) for size in sizes}
        for _ in range(options.rounds):
            for size in sizes:
                runs.append(measure_open_loop(tested, requests[size], options, rate, f"{size} events") | {"x": size})
    results = _by_size(runs, "events of the user before the run", log_x=True)
    p50 = results["summary"]["p50_ms"]
    results["summary"]["p50_of_largest_to_smallest"] = round(p50[str(sizes[-1])] / p50[str(sizes[0])], 3)
    return results


def catalogue(options: Options) -> dict[str, Any]:
    """Measure catalogues of 3,000, 100,000 and 1,000,000 items, one after the other.

    10,000,000 items need `--sizes 10000000`, 10 GB of memory and ten minutes to write and index.
    """
    runs = []
    recall: dict[str, float | str] = {}
    for size in options.sizes or (3_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory(prefix="loadtest-bundle-") as folder:
            bundle = Path(folder) / "bundle"
            ids = write_catalogue(bundle, options.bundle, size, options.seed)
            histories = zipf_histories(ids, SYNTHETIC_USERS, options.seed)
            requests = event_requests(histories, PREPARED_REQUESTS, "catalogue", options.seed)
            del ids, histories  # ids of ten million items take a gigabyte
            timeout_seconds = start_timeout_seconds(size)
            with service_under_test(options, bundle=bundle, timeout_seconds=timeout_seconds) as tested:
                found = index_recall(tested.server)
                recall[str(size)] = "exact search" if found is None else found
                runs += _latency_and_capacity(tested, requests, options, f"{size} items", size)
    results = _by_size(runs, "items in the catalogue", log_x=True)
    results["summary"]["recall@10"] = recall
    return results


def users(options: Options) -> dict[str, Any]:
    """Measure a store with 10,000 and with 1,000,000 other users.

    The other users have one event each.
    """
    runs = []
    requests = event_requests(options.histories, PREPARED_REQUESTS, "new", options.seed)
    with service_under_test(options) as tested:
        present = 0
        for size in options.sizes or (10_000, 1_000_000):
            added = [f"old-{n}" for n in range(present, size)]
            seed_store(tested.redis.url, added, options.item_ids, 1, _events_kept(options))
            present = max(present, size)
            runs += _latency_and_capacity(tested, requests, options, f"{size} users", size)
    return _by_size(runs, "users in the store before the run", log_x=True)


def workers(options: Options) -> dict[str, Any]:
    """Measure one worker, then two."""
    runs = []
    requests = event_requests(options.histories, PREPARED_REQUESTS, "workers", options.seed)
    for count in options.sizes or (1, 2):
        with service_under_test(options, workers=count) as tested:
            runs += _latency_and_capacity(tested, requests, options, f"{count} workers", count)
    return _by_size(runs, "workers")


def cluster(options: Options) -> dict[str, Any]:
    """Measure 1 to 12 workers on a Redis Cluster of this machine.

    Closed loop for the capacity, then open loop at `options.load_fraction` of it. Load comes from one process
    for each three cores. `linear` compares the capacity with that of one worker times the workers.
    """
    generators = max(1, (os.cpu_count() or 1) // CORES_OF_A_GENERATOR)
    requests = [event_requests(options.histories, 5_000, f"g{n}", options.seed + n) for n in range(generators)]
    runs: list[Run] = []
    for count in options.sizes or (1, 2, 4, 6, 8, 10, 12):
        with (
            redis_cluster(options.redis) as nodes,
            recblr_server(nodes.url, options.bundle, workers=count, settings=options.service) as server,
        ):
            runs += [run | {"x": count} for run in _closed_then_open(server, nodes, requests, count, options)]
            rates = [f"{run['loop']} loop {run['achieved_per_s']:.0f}/s" for run in runs[-2:]]
            print(f"{count} workers: {', '.join(rates)}, cores busy {runs[-2]['cores_busy']}", file=sys.stderr)
    results = _by_size(runs, "workers")
    one, most = (
        next(run for run in runs if run["loop"] == "closed" and run["x"] == x) for x in (runs[0]["x"], runs[-1]["x"])
    )
    results["summary"] |= {
        "linear": {
            str(run["x"]): round(run["achieved_per_s"] / run["x"] / (one["achieved_per_s"] / one["x"]), 3)
            for run in runs
            if run["loop"] == "closed"
        },
        "cpu_us_per_request": {str(run["x"]): run["cpu_us_per_request"] for run in runs if run["loop"] == "closed"},
        "cores_busy": {str(run["x"]): run["cores_busy"] for run in runs if run["loop"] == "closed"},
        "generators": generators,
        "cpu_of_most_to_one": round(most["cpu_us_per_request"]["server"] / one["cpu_us_per_request"]["server"], 3),
    }
    return results


def _closed_then_open(
    server: Server, nodes: RedisCluster, requests: Sequence[Sequence[Request]], workers: int, options: Options
) -> list[Run]:
    """Measure capacity, then latency at a fraction of it."""
    groups = {"server": server.pid, **{f"redis {n}": node.pid for n, node in enumerate(nodes.nodes)}}
    seconds, in_flight = min(options.seconds, MAX_CAPACITY_SECONDS), options.in_flight * workers
    run_closed_in_parallel(server.port, requests, options.warmup, in_flight)
    runs, rate = [], 0.0
    for loop in ("closed", "open"):
        meter, started = CpuMeter(groups), time.monotonic()
        if loop == "closed":
            samples = run_closed_in_parallel(server.port, requests, seconds, in_flight)
            rate = samples.summary()["achieved_per_s"] * options.load_fraction
        else:
            samples = run_open_in_parallel(server.port, requests, rate, seconds, options.connections, options.seed)
        spent, elapsed = meter.read(), time.monotonic() - started
        load = {"loop": loop, "offered_per_s": round(rate, 1), "connections": in_flight}
        run = run_of("recblr", groups, f"{workers} workers", load, samples, spent)
        runs.append(run | {"cores_busy": {name: round(cpu / elapsed, 2) for name, cpu in spent.items()}})
    return runs


def scaling(options: Options) -> dict[str, Any]:
    """Measure all four, each with its default sizes."""
    results = {measure.__name__: measure(options) for measure in (history, catalogue, users, workers)}
    return {
        "runs": [run for result in results.values() for run in result["runs"]],
        "charts": [
            {**chart, "title": f"{chart['title']} by {name}"}
            for name, result in results.items()
            for chart in result["charts"]
        ],
        "summary": {name: result["summary"] for name, result in results.items()},
    }


def index_recall(service: Server) -> float | None:
    """Return the service's recall@10; None without an index.

    The service measures it when it builds the index.
    """
    metrics: dict[str, float] = request_json(service.port, "GET", "/v1/model")["metrics"]
    return metrics.get("retrieval_recall@10")


def _requests_of_users_with(events: int, tested: ServiceUnderTest, options: Options) -> list[Request]:
    """Seed users with `events` events each; prepare their next events.

    A first read has each user's state computed.
    """
    names = [f"user-{n}-of-{events}" for n in range(max(4, min(2_000, 100_000 // events)))]
    seed_store(tested.redis.url, names, options.item_ids, events, _events_kept(options))
    for name in names:
        request_json(tested.server.port, "GET", f"/v1/users/{name}/recommendations")
    items = options.item_ids
    return [
        event_request("event", names[n % len(names)], items[(7 * n) % len(items)], f"h{events}") for n in range(2_000)
    ]


def _events_kept(options: Options) -> int:
    return int(options.service.get("RECBLR_EVENTS_KEPT", Settings.model_fields["events_kept"].default))


def _latency_and_capacity(
    tested: ServerUnderTest, requests: Sequence[Request], options: Options, label: str, x: int
) -> list[Run]:
    """Measure at `options.rate` in several rounds, then at capacity.

    `x` is the size on the charts.
    """
    runs = [measure_open_loop(tested, requests, options, options.rate, label) for _ in range(options.rounds)]
    seconds = min(options.seconds, MAX_CAPACITY_SECONDS)
    return [run | {"x": x} for run in [*runs, measure_closed_loop(tested, requests, options, seconds, label)]]


def _by_size(runs: list[Run], x_label: str, *, log_x: bool = False) -> dict[str, Any]:
    """Return the runs, with the medians at each size."""
    steady = [run for run in runs if run["loop"] == "open"]
    sizes = list(dict.fromkeys(run["x"] for run in runs))
    latency = {
        name: [(x, median(run["latency_ms"][name] for run in steady if run["x"] == x)) for x in sizes]
        for name in ("p50", "p90", "p99")
    }
    capacity = [(run["x"], run["achieved_per_s"]) for run in runs if run["loop"] == "closed"]
    charts = [{"title": "Latency", "x": x_label, "y": "ms", "lines": latency, "log": True, "log_x": log_x}]
    if capacity:
        charts.append({"title": "Capacity", "x": x_label, "y": "requests/s", "lines": {"": capacity}, "log_x": log_x})
    summary: dict[str, Any] = {f"{name}_ms": {str(x): y for x, y in points} for name, points in latency.items()}
    summary["errors"] = sum(sum(run["errors"].values()) for run in runs)
    summary["server_pss_mb"] = {str(run["x"]): run["memory_mb"]["server"]["pss"] for run in runs}
    if capacity:
        summary["capacity_per_s"] = {str(x): y for x, y in capacity}
    return {"runs": runs, "charts": charts, "summary": summary}
