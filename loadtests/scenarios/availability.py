"""Flips of availability beside filtered questions: no hidden item in any answer.

Each answer is checked against the catalogue revision that it names. An item is hidden in an answer that names the
revision of its last flip, or a later one, and that arrived before the item's next flip was sent.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from loadtests.environment.made_up_items import FILTERS, attributes_of
from loadtests.environment.servers import start_timeout_seconds
from loadtests.environment.synthetic_catalogue import write_catalogue
from loadtests.generator.experiment import Options, service_under_test
from loadtests.generator.http_client import Connection, make_request, request_json
from service.core.catalogue.revisions import includes

ITEMS, WORKERS = 1_000_000, 2
USERS, K = 500, 10
QUESTIONS_PER_SECOND, FLIPS_PER_SECOND = 500.0, 200.0
QUESTION_CONNECTIONS, FLIP_CONNECTIONS = 16, 4
FLIPPED_ITEMS = 2_000  # of those that are recommended most
ITEMS_PER_BATCH = 1000
FLIPS_PER_SAMPLE = 10  # one flip in this many is timed until each connection sees it


class Flips:
    """Acknowledged flips; shared by the threads that send and those that check."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # item -> revision and time of the acknowledgement that hid it
        self._hidden: dict[str, tuple[str, float]] = {}
        self.sampled: list[tuple[str, float]] = []  # revision and time of acknowledged flips
        self.count = 0

    def before(self, item_id: str) -> bool:
        """Forget the item's state, and return its next availability.

        Call it before the flip is sent.
        """
        with self._lock:
            return self._hidden.pop(item_id, None) is not None

    def after(self, item_id: str, available: bool, revision: str) -> None:
        """Record an acknowledged flip."""
        now = time.monotonic()
        with self._lock:
            if not available:
                self._hidden[item_id] = revision, now
            if self.count % FLIPS_PER_SAMPLE == 0:
                self.sampled.append((revision, now))
            self.count += 1

    def hidden(self, item_ids: Sequence[str], revision: str) -> list[str]:
        """Return the items that an answer of this revision must not have."""
        with self._lock:
            known = [(item_id, self._hidden.get(item_id)) for item_id in item_ids]
        return [item_id for item_id, flip in known if flip is not None and includes(revision, flip[0])]


class Load:
    """Threads that flip and ask until `stop`."""

    def __init__(self, port: int, item_ids: Sequence[str], flipped: Sequence[str]) -> None:
        self._port, self._flipped = port, flipped
        self._numbers = {item_id: number for number, item_id in enumerate(item_ids, start=1)}
        self.flips = Flips()
        self.latencies: list[float] = []
        self.delays: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.forbidden: list[str] = []
        self._stop = threading.Event()
        ask = [threading.Thread(target=self._ask, args=(n,)) for n in range(QUESTION_CONNECTIONS)]
        flip = [threading.Thread(target=self._flip, args=(n,)) for n in range(FLIP_CONNECTIONS)]
        self._threads = [*ask, *flip]

    def run(self, seconds: float) -> None:
        """Send both kinds of requests for this long."""
        for thread in self._threads:
            thread.start()
        time.sleep(seconds)
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _flip(self, number: int) -> None:
        rng, timetable = np.random.default_rng(number), Timetable(FLIPS_PER_SECOND / FLIP_CONNECTIONS)
        own = self._flipped[number::FLIP_CONNECTIONS]  # an item's flips stand in order
        connection = Connection(self._port, keep_body=True)
        while not self._stop.is_set():
            timetable.wait()
            item_id = own[int(rng.integers(len(own)))]
            available = self.flips.before(item_id)
            request = make_request("", "PATCH", f"/v1/items/{item_id}", {"available": available})
            status, body = connection.request(request.raw)
            self.statuses[status] += 1
            if status == 200:
                self.flips.after(item_id, available, json.loads(body)["catalogue_revision"])

    def _ask(self, number: int) -> None:
        rng, timetable = np.random.default_rng(1000 + number), Timetable(QUESTIONS_PER_SECOND / QUESTION_CONNECTIONS)
        connection = Connection(self._port, keep_body=True)
        seen = 0  # sampled flips that an answer on this connection had
        while not self._stop.is_set():
            due = timetable.wait()
            chosen = FILTERS[int(rng.integers(len(FILTERS)))]
            path = f"/v1/users/u{rng.integers(USERS)}/recommendations?k={K}&filter={quote(chosen.expression)}"
            status, body = connection.request(make_request("", "GET", path).raw)
            now = time.monotonic()
            self.statuses[status] += 1
            if status != 200:
                continue
            self.latencies.append(now - due)
            answer = json.loads(body)
            revision, found = answer["catalogue_revision"], [item["item_id"] for item in answer["items"]]
            self.forbidden += self.flips.hidden(found, revision)
            self.forbidden += [item for item in found if not chosen.passes(attributes_of(self._numbers[item]))]
            while seen < len(self.flips.sampled) and includes(revision, self.flips.sampled[seen][0]):
                self.delays.append(now - self.flips.sampled[seen][1])
                seen += 1


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
    """Measure flips beside questions on two workers."""
    size = options.sizes[0] if options.sizes else ITEMS
    with tempfile.TemporaryDirectory(prefix="loadtest-bundle-") as folder:
        bundle = Path(folder) / "bundle"
        ids = write_catalogue(bundle, options.bundle, size, options.seed)
        timeout = start_timeout_seconds(size)
        with service_under_test(options, bundle=bundle, workers=WORKERS, timeout_seconds=timeout) as tested:
            port, started = tested.server.port, time.monotonic()
            _put_items(port, ids)
            put_seconds = time.monotonic() - started
            flipped = _most_recommended(port, ids, options.seed)
            load = Load(port, ids, flipped)
            load.run(options.seconds)
    delays, latencies = np.array(load.delays), np.array(load.latencies)
    summary = {
        "items": size,
        "workers": WORKERS,
        "items_put_per_s": round(size / put_seconds),
        "seconds": options.seconds,
        "questions": len(latencies),
        "flips": load.flips.count,
        "statuses": dict(load.statuses),
        "forbidden_items": len(load.forbidden),
        "flip_to_effect_ms": _percentiles(delays),
        "question_ms": _percentiles(latencies),
    }
    return {"runs": [], "summary": summary, "charts": []}


def _percentiles(seconds: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(seconds, q)) * 1e3, 1) for q in (50, 99)} if len(seconds) else {}


def _most_recommended(port: int, ids: Sequence[str], seed: int) -> list[str]:
    """Return the items that are recommended most.

    Each user gets three events first.
    """
    rng, counts = np.random.default_rng(seed), defaultdict[str, int](int)
    connection = Connection(port, keep_body=True)
    for user in range(USERS):
        for _ in range(3):
            event = {"user_id": f"u{user}", "item_id": ids[int(rng.integers(len(ids)))]}
            _, body = connection.request(make_request("", "POST", "/v1/events?k=100", event).raw)
        for item in json.loads(body)["recommendations"]["items"]:
            counts[item["item_id"]] += 1
    return sorted(counts, key=lambda item: -counts[item])[:FLIPPED_ITEMS]


def _put_items(port: int, item_ids: Sequence[str]) -> None:
    """Put an entry for each item over HTTP.

    The first item is number 1.
    """
    for start in range(0, len(item_ids), ITEMS_PER_BATCH):
        items = [
            {"item_id": item_id, "title": f"Item {number}", "attributes": attributes_of(number)}
            for number, item_id in enumerate(item_ids[start : start + ITEMS_PER_BATCH], start=start + 1)
        ]
        answer = request_json(port, "POST", "/v1/items/batch", {"items": items, "mode": "put"})
        errors = [result for result in answer["results"] if "error" in result]
        if errors:
            raise OSError(f"an item was refused: {errors[0]}")
