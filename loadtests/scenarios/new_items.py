"""A day of new items between two trainings, on two workers.

Items are put one by one beside events, then in bulk, and one by one again. An item is followed until every worker
may recommend it. In the end the service is started again with all of them.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.environment.made_up_items import attributes_of
from loadtests.environment.processes import cpu_seconds, memory_mb, process_tree
from loadtests.environment.servers import RedisServer, Server, recblr_server, redis_server, start_timeout_seconds
from loadtests.environment.synthetic_catalogue import CATEGORIES, write_catalogue
from loadtests.generator.catalogue_filling import put_items
from loadtests.generator.experiment import PREPARED_REQUESTS, Options
from loadtests.generator.generator import run_open, schedule
from loadtests.generator.http_client import Connection, make_request, request_json
from loadtests.generator.workload import event_requests, zipf_histories

TRAINED_ITEMS, NEW_ITEMS, WORKERS = 200_000, 100_000, 2
PUTS_PER_SECOND = 2.0  # 100,000 a day are 1.2
WARM_UP_SECONDS = 5.0
USERS = 2_000
# That all of them lead to one worker is unlikely.
CONNECTIONS = 10
_POLL_SECONDS, _TIMEOUT_SECONDS = 0.01, 600.0


def new_items(options: Options) -> dict[str, Any]:
    """Measure new items on two workers.

    The sizes are the numbers of trained and of new items.
    """
    trained, new = options.sizes or (TRAINED_ITEMS, NEW_ITEMS)
    timeout, summary = start_timeout_seconds(trained), dict[str, Any]()
    with ExitStack() as stack:
        bundle = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-bundle-"))) / "bundle"
        ids = write_catalogue(bundle, options.bundle, trained, options.seed, with_encoder=True)
        histories = zipf_histories(ids, USERS, options.seed)
        redis = stack.enter_context(redis_server(options.redis))
        day = Day(redis, options, event_requests(histories, PREPARED_REQUESTS, "new", options.seed))

        @contextmanager
        def service() -> Iterator[Server]:
            started = time.monotonic()
            with recblr_server(
                redis.url, bundle, workers=WORKERS, settings=options.service, timeout_seconds=timeout
            ) as server:
                summary.setdefault("start_seconds", []).append(round(time.monotonic() - started, 1))
                yield server

        with service() as server:
            day.load(server, WARM_UP_SECONDS, lambda: None)
            before = summary["one by one"] = day.one_by_one(server, range(1, new))
            first = before["items"] + 1
            summary["in bulk"] = day.in_bulk(server, range(first, new))
            summary["one by one, with all others"] = day.one_by_one(server, range(new, 2 * new))
        with service() as server:
            summary["vectors"] = _vectors(server)
            summary["memory_mb after a start"] = memory_mb(process_tree(server.pid))
    summary = {
        "trained_items": trained,
        "new_items": new,
        "workers": WORKERS,
        "offered_per_s": options.rate,
    } | summary
    return {"runs": [], "summary": summary, "charts": []}


class Day:
    """Puts items beside events, and follows them."""

    def __init__(self, redis: RedisServer, options: Options, requests: Sequence[Any]) -> None:
        self._redis, self._options, self._requests = redis, options, requests

    def one_by_one(self, server: Server, numbers: range) -> dict[str, Any]:
        """Put items at their daily rate.

        Each is timed until all workers may recommend it.
        """
        delays: list[float] = []
        count = min(int(self._options.seconds * PUTS_PER_SECOND), len(numbers))

        def put() -> None:
            connections = [Connection(server.port, keep_body=True) for _ in range(CONNECTIONS)]
            begun = time.monotonic()
            for number, due in zip(numbers, np.arange(count) / PUTS_PER_SECOND, strict=False):
                time.sleep(max(0.0, begun + due - time.monotonic()))
                started = time.monotonic()
                request_json(server.port, "PUT", f"/v1/items/new-{number}", body_of(number))
                for connection in connections:
                    wait_for_item(connection, number)
                delays.append(time.monotonic() - started)
            for connection in connections:
                connection.close()

        found = self.load(server, count / PUTS_PER_SECOND, put)
        return {"items": len(delays), "put_to_every_worker_ms": _percentiles(delays)} | found

    def in_bulk(self, server: Server, numbers: range) -> dict[str, Any]:
        """Put items in batches.

        They are timed until all workers may recommend them.
        """
        seconds: dict[str, float] = {}

        def put() -> None:
            started = time.monotonic()
            put_items(server.port, ({"item_id": f"new-{number}", **body_of(number)} for number in numbers))
            seconds["put"] = time.monotonic() - started
            for _ in range(CONNECTIONS):
                connection = Connection(server.port, keep_body=True)
                for number in numbers[:: max(1, len(numbers) // 50)]:
                    wait_for_item(connection, number)
                connection.close()
            seconds["recommendable"] = time.monotonic() - started

        found = self.load(server, 0.0, put)
        figures = {f"{name}_seconds": round(value, 1) for name, value in seconds.items()}
        return {"items": len(numbers)} | figures | found

    def load(self, server: Server, seconds: float, put: Callable[[], None]) -> dict[str, Any]:
        """Send events while `put` runs, and at least for some seconds.

        Returns their latencies, the CPU time and the memory.
        """
        groups = {"service": process_tree(server.pid), "redis": process_tree(self._redis.pid)}
        spent = {name: cpu_seconds(pids) for name, pids in groups.items()}
        latencies: list[float] = []
        errors = 0
        putting, started = threading.Thread(target=put), time.monotonic()
        putting.start()
        while putting.is_alive() or time.monotonic() < started + seconds:
            due = schedule(self._options.rate, 2.0, poisson=True, seed=self._options.seed)
            samples = run_open(server.port, self._requests, due, self._options.connections)
            latencies += (1e3 * samples.latencies).tolist()
            errors += sum(samples.summary()["errors"].values())
        putting.join()
        elapsed = time.monotonic() - started
        cores = {name: round((cpu_seconds(pids) - spent[name]) / elapsed, 2) for name, pids in groups.items()}
        event_ms = {f"p{q}": round(float(np.percentile(latencies, q)), 1) for q in (50, 99)}
        memory = {name: memory_mb(pids) for name, pids in groups.items()}
        return {"event_ms": event_ms, "errors": errors, "cores": cores, "memory_mb": memory}


def body_of(number: int) -> dict[str, Any]:
    """Return the body of a new item."""
    categories = [f"c{number % CATEGORIES}", f"c{number * 31 % CATEGORIES}"]
    title = f"Item number {number} of the newest ones"
    return {"title": title, "categories": sorted({*categories}), "attributes": attributes_of(number)}


def wait_for_item(connection: Connection, number: int) -> None:
    """Wait until the connection's worker may recommend an item."""
    raw = make_request("", "POST", "/v1/users/poller/rank", {"candidates": [f"new-{number}"]}).raw
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        status, body = connection.request(raw)
        if status == 200 and json.loads(body)["items"][0]["eligible"]:
            return
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"a worker does not recommend new-{number}")


def _vectors(server: Server) -> int:
    """Return the vectors that the worker furthest behind holds."""
    connection = Connection(server.port, keep_body=True)
    _, body = connection.request(make_request("", "GET", "/metrics").raw)
    connection.close()
    [line] = [line for line in body.decode().splitlines() if line.startswith("recblr_item_vectors{")]
    return int(float(line.rpartition(" ")[2]))


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(seconds, q)) * 1e3, 1) for q in (50, 99, 100)} if seconds else {}
