"""Prometheus metrics of one worker, and the page of all workers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.core.engine_requests import TargetRank
from service.core.jobs.streams import event_writer, item_writer
from service.observability.buckets import DURATION_SECONDS
from service.observability.instrumented_store import StoreMetrics
from service.observability.job_metrics import BackfillMetrics, CatalogueMetrics, StreamMetrics
from service.observability.live_accuracy import LiveAccuracy, WindowMeans

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it once, when it is imported

OTHER_METHOD = "other"  # stands for a method that no client should send
KNOWN_METHODS = {name: name for name in ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS")}
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_REPLAY_LENGTHS = (0, 1, 2, 5, 10, 50, 100, 500, 1000, 10_000)


def route_of(scope: Mapping[str, Any]) -> str:
    """Return the template of the route that matched, or "unmatched".

    Logs and metrics use the template, because the path itself is text from the client.
    """
    return str(getattr(scope.get("route"), "path", "unmatched"))


class HttpMetrics:
    """Duration and outcome of requests. No label holds text from a client.

    An arriving request increments `in_progress`; `request_finished` must follow.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Histogram(
            "recblr_http_request_seconds",
            "Time from the arrival of a request to the end of its response.",
            ["route", "method", "status"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "recblr_http_requests_in_progress",
            "Requests that have arrived and are not answered yet.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._rate_limited = Counter(
            "recblr_rate_limited",
            "Requests refused by the rate limit (429). `key` is the name of the API key.",
            ["key"],
            registry=registry,
        )
        self._by_labels: dict[tuple[str, str, int], Histogram] = {}

    def request_finished(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record a finished request; `route` is the template of the route."""
        self.in_progress.dec()
        labels = (route, KNOWN_METHODS.get(method, OTHER_METHOD), status)
        histogram = self._by_labels.get(labels)
        if histogram is None:  # the library's own lookup of labels costs as much as the observation
            histogram = self._by_labels[labels] = self._requests.labels(*map(str, labels))
        histogram.observe(seconds)

    def rate_limited(self, key: str) -> None:
        """Count a request refused by the rate limit of a key."""
        self._rate_limited.labels(key).inc()


@dataclass(frozen=True, slots=True)
class StageMeter:
    """Metrics of one micro-batcher; implements `core.recommending.micro_batcher.BatchMeter`."""

    _sizes: Histogram
    _seconds: Histogram
    _queue: Gauge
    _rejected: Counter
    _expired: Counter

    def batch_finished(self, size: int, seconds: float, queued: int) -> None:
        """See `BatchMeter`."""
        self._sizes.observe(size)
        self._seconds.observe(seconds)
        self._queue.set(queued)

    def request_rejected(self) -> None:
        """See `BatchMeter`."""
        self._rejected.inc()

    def requests_expired(self, count: int) -> None:
        """See `BatchMeter`."""
        self._expired.inc(count)


class BatchingMetrics:
    """Metrics of all micro-batchers of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sizes = Histogram(
            "recblr_batch_size", "Requests in a batch.", ["stage"], buckets=_BATCH_SIZES, registry=registry
        )
        self._seconds = Histogram(
            "recblr_batch_seconds", "Duration of a batch.", ["stage"], buckets=DURATION_SECONDS, registry=registry
        )
        self._queue = Gauge(
            "recblr_queue_length",
            "Requests that were queued when the last batch ended.",
            ["stage"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._rejected = Counter(
            "recblr_queue_rejected",
            "Requests rejected because the queue was full (429).",
            ["stage"],
            registry=registry,
        )
        self._expired = Counter(
            "recblr_deadline_exceeded",
            "Requests not started because their deadline had passed (503).",
            ["stage"],
            registry=registry,
        )

    def stage(self, name: str) -> StageMeter:
        """Return the metrics of the micro-batcher of one stage."""
        return StageMeter(
            self._sizes.labels(name),
            self._seconds.labels(name),
            self._queue.labels(name),
            self._rejected.labels(name),
            self._expired.labels(name),
        )


class PrometheusMeter:
    """Metrics of one worker; implements `core.ports.Meter`.

    The attributes `http`, `store`, `batching`, `backfill`, `stream` and `item_stream` are the metrics of these parts.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._replay_lengths = Histogram(
            "recblr_replay_events", "Events replayed for one answer.", buckets=_REPLAY_LENGTHS, registry=registry
        )
        self._cold_starts = Counter(
            "recblr_cold_starts", "Answers to a history without an item that the model knows.", registry=registry
        )
        self._snapshots_damaged = Counter(
            "recblr_snapshots_damaged", "Snapshots that failed their check and were replaced.", registry=registry
        )
        self._events_ignored = Counter(
            "recblr_events_ignored", "Pending events of types that the model does not replay.", registry=registry
        )
        self._model = Gauge(
            "recblr_model_info",
            "1 for each served model version.",
            ["version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._versions: frozenset[str] = frozenset()
        self._accuracy = LiveAccuracy(registry)
        self.http = HttpMetrics(registry)
        self.store = StoreMetrics(registry)
        self.batching = BatchingMetrics(registry)
        self.backfill = BackfillMetrics(registry, self._snapshots_damaged)
        self.stream = StreamMetrics(registry, "recblr_stream", "events", event_writer.OUTCOMES)
        self.item_stream = StreamMetrics(registry, "recblr_item_stream", "items", item_writer.OUTCOMES)
        self.catalogue = CatalogueMetrics(registry)
        _forget_dead_processes()

    def events_replayed(self, count: int, ignored: int = 0) -> None:
        """See `core.ports.Meter`."""
        self._replay_lengths.observe(count)
        if ignored:
            self._events_ignored.inc(ignored)

    def cold_start(self) -> None:
        """See `core.ports.Meter`."""
        self._cold_starts.inc()

    def snapshot_damaged(self) -> None:
        """See `core.ports.Meter`."""
        self._snapshots_damaged.inc()

    def event_evaluated(self, model_version: str, rank: TargetRank, event_type: str = "") -> None:
        """See `core.ports.Meter`."""
        self._accuracy.add(model_version, rank, event_type)

    def served_versions(self, versions: Sequence[str]) -> None:
        """Report the model versions that are served from now on."""
        for version in self._versions.difference(versions):
            if MULTIPROCESS_FOLDER in os.environ:
                self._model.labels(version).set(0)  # a worker's file cannot shrink
            else:
                self._model.remove(version)
        self._versions = frozenset(versions)
        for version in versions:
            self._model.labels(version).set(1)
        self._accuracy.serve(versions)

    def page(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format."""
        self.update()
        return self.render()

    def update(self) -> None:
        """Write what was collected; call it on the event loop."""
        self._accuracy.write()

    def render(self) -> bytes:
        """Render the page; any thread may call it."""
        registry = self._registry
        if MULTIPROCESS_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        with_means = CollectorRegistry()
        with_means.register(WindowMeans(registry))
        return generate_latest(with_means)


def _forget_dead_processes() -> None:
    """Drop the gauges of dead workers.

    They would be summed with those of the worker that replaces it.
    """
    if MULTIPROCESS_FOLDER not in os.environ:
        return
    for file in Path(os.environ[MULTIPROCESS_FOLDER]).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
