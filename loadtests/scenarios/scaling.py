"""How latency grows with a user's history, with the catalogue, with the users in the store and with the workers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.environment.seed_store import fill
from loadtests.environment.servers import Server, recblr, redis_server, start_seconds
from loadtests.environment.synthetic_catalogue import write_catalogue
from loadtests.generator.experiment import Options, Target, closed_loop, open_loop
from loadtests.generator.http_client import Connection, Request, make_request
from loadtests.generator.workload import event_request, event_requests, zipf_histories

# Requests per second of a measurement that compares single requests rather than loads the machine.
MODERATE = 100.0


def history(options: Options) -> dict[str, Any]:
    """Users with 10, 1,000 or 100,000 events: the step must cost the same, so the latency must not grow.

    The log keeps the newest RECBLR_EVENTS_KEPT (1,000 unless the run sets it), and the state has folded those.
    There are as many users as keep a history's length what it is while the run adds to it. The sizes take turns, so
    that whatever else the machine does meets all of them.
    """
    sizes = options.sizes or (10, 1_000, 100_000)
    rate = min(options.rate, MODERATE)
    runs = []
    with redis_server(options.redis) as redis, recblr(redis, options.bundle, settings=options.service) as service:
        target = Target.of("recblr", service, redis)
        requests: dict[int, list[Request]] = {size: [] for size in sizes}
        for size in sizes:
            users = [f"user-{n}-of-{size}" for n in range(max(4, min(2_000, 100_000 // size)))]
            fill(redis, users, options.item_ids, size, options.service)
            _touch(service, users)
            for n in range(2_000):
                item = options.item_ids[(7 * n) % len(options.item_ids)]
                requests[size].append(event_request("event", users[n % len(users)], item, f"h{size}"))
        for _ in range(options.rounds):
            for size in sizes:
                runs.append(open_loop(target, requests[size], options, rate, f"{size} events") | {"x": size})
    grown = _grown(runs, "events of the user before the run", log_x=True)
    p50 = grown["summary"]["p50_ms"]
    grown["summary"]["p50_of_largest_to_smallest"] = round(p50[str(sizes[-1])] / p50[str(sizes[0])], 3)
    return grown


def catalogue(options: Options) -> dict[str, Any]:
    """Catalogues of 3,000, 100,000 and 1,000,000 items, each served in turn.

    10,000,000 have to be asked for: they take 10 GB of memory and some ten minutes to write and to index.
    """
    runs = []
    recall: dict[str, float | str] = {}
    for size in options.sizes or (3_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory(prefix="loadtest-bundle-") as folder:
            bundle = Path(folder) / "bundle"
            ids = write_catalogue(bundle, options.bundle, size, options.seed)
            requests = event_requests(zipf_histories(ids, 2_000, options.seed), 20_000, "catalogue", options.seed)
            del ids  # ten million of them take a gigabyte
            with (
                redis_server(options.redis) as redis,
                recblr(redis, bundle, settings=options.service, seconds=start_seconds(size)) as service,
            ):
                target = Target.of("recblr", service, redis)
                recall[str(size)] = model_metrics(service).get("retrieval_recall@10", "exact search")
                runs += _at_rate_and_full(target, requests, options, f"{size} items", size)
    grown = _grown(runs, "items in the catalogue", log_x=True)
    grown["summary"]["recall@10"] = recall
    return grown


def users(options: Options) -> dict[str, Any]:
    """A store with 10,000 and with 1,000,000 other users, who have one event each."""
    runs = []
    requests = event_requests(options.histories, 20_000, "new", options.seed)
    with redis_server(options.redis) as redis, recblr(redis, options.bundle, settings=options.service) as service:
        target = Target.of("recblr", service, redis)
        present = 0
        for size in options.sizes or (10_000, 1_000_000):
            fill(redis, [f"old-{n}" for n in range(present, size)], options.item_ids, 1, options.service)
            present = max(present, size)
            runs += _at_rate_and_full(target, requests, options, f"{size} users", size)
    return _grown(runs, "users in the store before the run", log_x=True)


def workers(options: Options) -> dict[str, Any]:
    """One worker, then two."""
    runs = []
    requests = event_requests(options.histories, 20_000, "workers", options.seed)
    for count in options.sizes or (1, 2):
        with (
            redis_server(options.redis) as redis,
            recblr(redis, options.bundle, workers=count, settings=options.service) as service,
        ):
            target = Target.of("recblr", service, redis)
            runs += _at_rate_and_full(target, requests, options, f"{count} workers", count)
    return _grown(runs, "workers")


def everything(options: Options) -> dict[str, Any]:
    """All of the above, each with its own sizes."""
    parts = {"history": history, "catalogue": catalogue, "users": users, "workers": workers}
    results = {name: measure(options) for name, measure in parts.items()}
    return {
        "runs": [run for result in results.values() for run in result["runs"]],
        "charts": [
            {**chart, "title": f"{chart['title']} by {name}"}
            for name, result in results.items()
            for chart in result["charts"]
        ],
        "summary": {name: result["summary"] for name, result in results.items()},
    }


def _at_rate_and_full(
    target: Target, requests: Sequence[Request], options: Options, label: str, x: int
) -> list[dict[str, Any]]:
    runs = [open_loop(target, requests, options, options.rate, label) | {"x": x} for _ in range(options.rounds)]
    return [*runs, closed_loop(target, requests, options, min(options.seconds, 10.0), label) | {"x": x}]


def _grown(runs: list[dict[str, Any]], x_name: str, *, log_x: bool = False) -> dict[str, Any]:
    """Medians over the rounds at each size, and their plots."""
    at_rate = [run for run in runs if run["loop"] == "open"]
    sizes = list(dict.fromkeys(run["x"] for run in runs))
    chosen = ("p50", "p90", "p99")
    latency = {
        name: [(x, _middle([run["latency_ms"][name] for run in at_rate if run["x"] == x])) for x in sizes]
        for name in chosen
    }
    full = [(run["x"], run["achieved_per_s"]) for run in runs if run["loop"] == "closed"]
    charts = [{"title": "Latency", "x": x_name, "y": "ms", "lines": latency, "log": True, "log_x": log_x}]
    if full:
        charts.append({"title": "Capacity", "x": x_name, "y": "requests/s", "lines": {"": full}, "log_x": log_x})
    summary: dict[str, Any] = {f"{name}_ms": {str(x): y for x, y in latency[name]} for name in chosen}
    summary["errors"] = sum(sum(run["errors"].values()) for run in runs)
    summary["server_pss_mb"] = {str(run["x"]): run["memory_mb"]["server"]["pss"] for run in runs}
    if full:
        summary["capacity_per_s"] = {str(x): y for x, y in full}
    return {"runs": runs, "charts": charts, "summary": summary}


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _touch(service: Server, users: Sequence[str]) -> None:
    """Have every user's state folded: imports leave that to who asks first."""
    connection = Connection(service.port)
    for user in users:
        connection.ask(make_request("fill", "GET", f"/v1/users/{user}/recommendations").raw)
    connection.close()


def model_metrics(service: Server) -> dict[str, float]:
    """The live model's, among them what was measured when it was loaded."""
    connection = Connection(service.port, keep_body=True)
    _, body = connection.ask(make_request("model", "GET", "/v1/model").raw)
    connection.close()
    metrics: dict[str, float] = json.loads(body)["metrics"]
    return metrics
