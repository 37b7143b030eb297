"""Flips of availability beside filtered questions: no hidden item in any answer.

Each answer is checked against the catalogue revision that it names. In the middle a worker or Redis may be killed, or
a sentinel may fail over; requests are then repeated over new connections.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from loadtests.environment.faulty_stores import failing_over, killed_redis
from loadtests.environment.made_up_items import FILTERS, attributes_of
from loadtests.environment.processes import is_forked_worker, process_tree
from loadtests.environment.servers import Server, recblr_server, start_timeout_seconds
from loadtests.environment.synthetic_catalogue import write_catalogue
from loadtests.generator.catalogue_filling import put_items, request_until_accepted
from loadtests.generator.experiment import Options
from loadtests.generator.flip_history import FlipHistory
from loadtests.generator.http_client import Connection, Request, make_request
from service.core.catalogue.revisions import includes

ITEMS, WORKERS = 1_000_000, 2
USERS, K = 500, 10
QUESTION_CONNECTIONS, FLIP_CONNECTIONS = 16, 4
FLIPPED_ITEMS = 2_000  # of those that are recommended most
WAIT = {"RECBLR_REDIS_WAIT": "1"}  # an acknowledged flip survives a failover
FAULTS = ("worker", "redis", "failover")
RETRY_PAUSE_SECONDS = 0.02


class Load:
    """Threads that flip and ask until `stop`."""

    def __init__(
        self, port: int, item_ids: Sequence[str], flipped: Sequence[str], questions: float, flips: float
    ) -> None:
        """Prepare the threads; `questions` and `flips` are rates per second."""
        self._port, self._flipped = port, flipped
        self._question_rate, self._flip_rate = questions / QUESTION_CONNECTIONS, flips / FLIP_CONNECTIONS
        self._numbers = {item_id: number for number, item_id in enumerate(item_ids, start=1)}
        self.flips = FlipHistory()
        self.latencies: list[float] = []
        self.delays: list[float] = []
        self.statuses: Counter[int] = Counter()  # 0 without an answer
        self.forbidden: list[str] = []
        self._stop = threading.Event()
        ask = [threading.Thread(target=self._ask, args=(n,)) for n in range(QUESTION_CONNECTIONS)]
        flip = [threading.Thread(target=self._flip, args=(n,)) for n in range(FLIP_CONNECTIONS)]
        self._threads = [*ask, *flip]

    def run(self, seconds: float, fault: Callable[[], None] | None = None) -> None:
        """Send both kinds of requests; break something in the middle."""
        for thread in self._threads:
            thread.start()
        started_at = time.monotonic()
        if fault is not None:
            time.sleep(seconds / 2)
            fault()
        time.sleep(max(0.0, started_at + seconds - time.monotonic()))
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _flip(self, number: int) -> None:
        rng, timetable = np.random.default_rng(number), Timetable(self._flip_rate)
        own = self._flipped[number::FLIP_CONNECTIONS]  # an item's flips stand in order
        client = Client(self._port)
        while not self._stop.is_set():
            timetable.wait()
            item_id = own[int(rng.integers(len(own)))]
            flip = self.flips.begin(item_id)
            request = make_request("", "PATCH", f"/v1/items/{item_id}", {"available": flip.available})
            tries, status = 0, 0
            while status != 200:
                if tries:
                    time.sleep(RETRY_PAUSE_SECONDS)
                status, body = client.request(request)
                self.statuses[status] += 1
                tries += 1
            answer = json.loads(body)
            is_exact = answer["changed"] and tries == 1
            self.flips.end(item_id, flip, answer["catalogue_revision"], time.monotonic(), is_exact=is_exact)

    def _ask(self, number: int) -> None:
        rng, timetable = np.random.default_rng(1000 + number), Timetable(self._question_rate)
        client = Client(self._port)
        seen = 0  # sampled flips that an answer on this connection had
        while not self._stop.is_set():
            due = timetable.wait()
            chosen = FILTERS[int(rng.integers(len(FILTERS)))]
            path = f"/v1/users/u{rng.integers(USERS)}/recommendations?k={K}&filter={quote(chosen.expression)}"
            status, body = client.request(make_request("", "GET", path))
            now = time.monotonic()
            self.statuses[status] += 1
            if status != 200:
                continue
            self.latencies.append(now - due)
            answer = json.loads(body)
            revision, found = answer["catalogue_revision"], [item["item_id"] for item in answer["items"]]
            self.forbidden += self.flips.hidden(found, revision)
            self.forbidden += [item for item in found if not chosen.passes(attributes_of(self._numbers[item]))]
            sampled = self.flips.sampled
            while seen < len(sampled) and includes(revision, sampled[seen][0]):
                self.delays.append(now - sampled[seen][1])
                seen += 1


class Client:
    """Connection that is opened again when it breaks."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: Connection | None = None

    def request(self, request: Request) -> tuple[int, bytes]:
        """Send a request; the status is 0 without an answer."""
        try:
            if self._connection is None:
                self._connection = Connection(self._port, keep_body=True)
            return self._connection.request(request.raw)
        except OSError:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return 0, b""


class Timetable:
    """Times at which a thread sends, evenly spaced."""

    def __init__(self, per_second: float) -> None:
        self._interval, self._next = 1 / per_second, time.monotonic()

    def wait(self) -> float:
        """Wait for the next time and return it."""
        self._next += self._interval
        time.sleep(max(0.0, self._next - time.monotonic()))
        return self._next


def availability(options: Options) -> dict[str, Any]:
    """Measure flips beside questions on two workers, perhaps with a fault."""
    size = options.sizes[0] if options.sizes else ITEMS
    settings = {**options.service, **(WAIT if options.fault == "failover" else {})}
    with ExitStack() as stack:
        bundle = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-bundle-"))) / "bundle"
        ids = write_catalogue(bundle, options.bundle, size, options.seed)
        open_store = failing_over if options.fault == "failover" else killed_redis
        store = stack.enter_context(open_store(options.redis))
        timeout = start_timeout_seconds(size)
        server = stack.enter_context(
            recblr_server(store.url, bundle, workers=WORKERS, settings=settings, timeout_seconds=timeout)
        )
        started = time.monotonic()
        put_items(
            server.port,
            (
                {"item_id": item_id, "title": f"Item {number}", "attributes": attributes_of(number)}
                for number, item_id in enumerate(ids, start=1)
            ),
        )
        put_seconds = time.monotonic() - started
        flipped = _most_recommended(server.port, ids, options.seed)
        load = Load(server.port, ids, flipped, options.questions, options.flips)
        faults = {"": None, "worker": lambda: kill_worker(server), "redis": store.fault, "failover": store.fault}
        load.run(options.seconds, faults[options.fault])
    delays, latencies, flips = np.array(load.delays), np.array(load.latencies), load.flips
    summary = {
        "items": size,
        "workers": WORKERS,
        "fault": options.fault or None,
        "offered_per_s": {"questions": options.questions, "flips": options.flips},
        "items_put_per_s": round(size / put_seconds),
        "seconds": options.seconds,
        "questions": len(latencies),
        "flips": flips.count,
        "statuses": dict(load.statuses),
        "forbidden_items": len(load.forbidden),
        "checked_items": flips.checked,
        "undecided_items": flips.undecided,
        "flip_to_effect_ms": _percentiles(delays),
        "question_ms": _percentiles(latencies),
    }
    return {"runs": [], "summary": summary, "charts": []}


def kill_worker(server: Server) -> None:
    """Kill one worker by SIGKILL."""
    workers = [pid for pid in process_tree(server.pid) if is_forked_worker(pid, server.pid)]
    os.kill(workers[0], signal.SIGKILL)


def _percentiles(seconds: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(seconds, q)) * 1e3, 1) for q in (50, 99, 100)} if len(seconds) else {}


def _most_recommended(port: int, ids: Sequence[str], seed: int) -> list[str]:
    """Return the items that are recommended most.

    Each user gets three events first.
    """
    rng, counts = np.random.default_rng(seed), defaultdict[str, int](int)
    for user in range(USERS):
        for number in range(3):
            event = {
                "user_id": f"u{user}",
                "item_id": ids[int(rng.integers(len(ids)))],
                "event_id": f"first {number}",
            }
            answer = request_until_accepted(port, "POST", "/v1/events?k=100", event)
        for item in answer["recommendations"]["items"]:
            counts[item["item_id"]] += 1
    return sorted(counts, key=lambda item: -counts[item])[:FLIPPED_ITEMS]
