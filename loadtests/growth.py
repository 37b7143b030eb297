"""How latency grows with a user's history, with the catalogue, with the users in the store and with the workers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.catalogue import write_catalogue
from loadtests.lab import Options, Target, closed_loop, open_loop
from loadtests.servers import Server, ServerFailed, recblr, redis_server
from loadtests.wire import Connection, Request, make_request
from loadtests.workload import event_request, event_requests, zipf_histories

# Events posted at a time while a store is filled: the API's largest batch.
BATCH = 1000


def history(options: Options) -> dict[str, Any]:
    """One user with 10, 1,000 or 100,000 events: the step must cost the same, so the latency must not grow.

    The log keeps the newest RECBLR_EVENTS_KEPT of them (1,000 unless the run sets it); the state has folded all.
    The sizes take turns, so that whatever else the machine does meets all of them.
    """
    sizes = options.sizes or (10, 1_000, 100_000)
    runs = []
    with redis_server(options.redis) as redis, recblr(redis, options.bundle, settings=options.service) as service:
        target = Target.of("recblr", service, redis)
        requests = {}
        for size in sizes:
            user = f"user-of-{size}"
            _fill(service, [(user, options.item_ids[n % len(options.item_ids)]) for n in range(size)])
            items = [options.item_ids[(7 * n) % len(options.item_ids)] for n in range(500)]
            requests[size] = [event_request("event", user, item, f"h{size}") for item in items]
        for _ in range(options.rounds):
            for size in sizes:
                runs.append(open_loop(target, requests[size], options, options.rate, f"{size} events") | {"x": size})
    return _grown(runs, "events of the user before the run", log_x=True)


def catalogue(options: Options) -> dict[str, Any]:
    """Catalogues of 3,000, 100,000 and 1,000,000 items (and more if asked for), each served in turn."""
    runs = []
    for size in options.sizes or (3_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory(prefix="loadtest-bundle-") as folder:
            bundle = Path(folder) / "bundle"
            ids = write_catalogue(bundle, options.bundle, size, options.seed)
            requests = event_requests(zipf_histories(ids, 2_000, options.seed), 20_000, "catalogue", options.seed)
            with redis_server(options.redis) as redis, recblr(redis, bundle, settings=options.service) as service:
                target = Target.of("recblr", service, redis)
                runs += _at_rate_and_full(target, requests, options, f"{size} items", size)
    return _grown(runs, "items in the catalogue", log_x=True)


def users(options: Options) -> dict[str, Any]:
    """A store with 0, 10,000 (or as many as asked for) other users, who have five events each."""
    runs = []
    requests = event_requests(options.histories, 20_000, "new", options.seed)
    with redis_server(options.redis) as redis, recblr(redis, options.bundle, settings=options.service) as service:
        target = Target.of("recblr", service, redis)
        present = 0
        for size in options.sizes or (0, 10_000):
            ids = options.item_ids
            for low in range(present, size, 10_000):
                names = range(low, min(low + 10_000, size))
                _fill(service, [(f"old-{n}", ids[(n + 31 * e) % len(ids)]) for n in names for e in range(5)])
            present = max(present, size)
            runs += _at_rate_and_full(target, requests, options, f"{size} users", size)
    return _grown(runs, "users in the store before the run")


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


def _at_rate_and_full(
    target: Target, requests: Sequence[Request], options: Options, label: str, x: int
) -> list[dict[str, Any]]:
    full = closed_loop(target, requests, options, min(options.seconds, 10.0), label) | {"x": x}
    return [open_loop(target, requests, options, options.rate, label) | {"x": x}, full]


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


def _fill(service: Server, events: Sequence[tuple[str, str]]) -> None:
    """Post `events`, (user, item) pairs, in batches, and have the last user's state folded."""
    connection = Connection(service.port, keep_body=True)
    connection.socket.settimeout(60)
    for low in range(0, len(events), BATCH):
        batch = [{"user_id": user, "item_id": item} for user, item in events[low : low + BATCH]]
        status, body = connection.ask(make_request("fill", "POST", "/v1/events/batch", {"events": batch}).raw)
        if status != 200 or b'"error"' in body:
            raise ServerFailed(f"the store could not be filled: {status} {body[:300].decode(errors='replace')}")
    if events:
        path = f"/v1/users/{events[-1][0]}/recommendations"
        connection.ask(make_request("fill", "GET", path).raw)
    connection.close()
