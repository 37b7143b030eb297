"""What the service measures about itself, for Prometheus. Every label takes few values: none comes from a client."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.core.engine_requests import TargetRank
from service.observability.batching_metrics import SECONDS, BatchingMetrics, StageMeter
from service.observability.job_metrics import BackfillMetrics, StreamMetrics
from service.observability.live_accuracy import Accuracy, Ratios

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it once, when it is imported

_FOLDS = (0, 1, 2, 5, 10, 50, 100, 500, 1000, 10_000)
_METHODS = frozenset(("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"))


class PrometheusMeter:
    """The meter of one process; `core.ports.Meter` and what HTTP and the store report besides.

    `backfill` and `stream` are the meters of what works in the background.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Histogram(
            "recblr_http_request_seconds",
            "Time from request to end of answer",
            ["route", "method", "status"],
            buckets=SECONDS,
            registry=registry,
        )
        self._in_progress = Gauge(
            "recblr_http_requests_in_progress",
            "Requests being answered",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._folds = Histogram(
            "recblr_replay_events", "Pending events folded for an answer", buckets=_FOLDS, registry=registry
        )
        self._store_seconds = Histogram(
            "recblr_store_seconds", "Time of a store round trip", ["operation"], buckets=SECONDS, registry=registry
        )
        self._store_failures = Counter(
            "recblr_store_failures",
            "Store round trips that failed, wholly or in part",
            ["operation"],
            registry=registry,
        )
        self._cold_starts = Counter(
            "recblr_cold_starts", "Answers without a known item in history", registry=registry
        )
        self._rate_limited = Counter(
            "recblr_rate_limited",
            "Requests refused because their API key makes too many; `key` is its place in RECBLR_API_KEYS",
            ["key"],
            registry=registry,
        )
        self._snapshots_damaged = Counter(
            "recblr_snapshots_damaged", "Memos that failed their check", registry=registry
        )
        self._model = Gauge(
            "recblr_model_info",
            "1 for a model that answers",
            ["version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._versions: frozenset[str] = frozenset()
        self._accuracy = Accuracy(registry)
        self._stages = BatchingMetrics(registry)
        self.backfill = BackfillMetrics(registry, self.snapshot_damaged)
        self.stream = StreamMetrics(registry)
        self._by_labels: dict[tuple[str, str, int], Histogram] = {}
        _forget_dead_processes()

    def events_replayed(self, count: int) -> None:
        """A turn folded so many pending events."""
        self._folds.observe(count)

    def cold_start(self) -> None:
        """An answer came from a history without known items."""
        self._cold_starts.inc()

    def snapshot_damaged(self) -> None:
        """A memo failed its check and is being rebuilt."""
        self._snapshots_damaged.inc()

    def event_evaluated(self, model_version: str, rank: TargetRank) -> None:
        """An event's item stood there for this model before the event."""
        self._accuracy.add(model_version, rank)

    def stage(self, stage: str) -> StageMeter:
        """What the micro-batcher of `stage` reports to."""
        return self._stages.of(stage)

    def rate_limited(self, place: int) -> None:
        """A request was refused: the key at this place of the setting makes too many."""
        self._rate_limited.labels(str(place)).inc()

    def request_started(self) -> None:
        """A request came in; `request_finished` must follow."""
        self._in_progress.inc()

    def request_finished(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is the template, never the path itself."""
        self._in_progress.dec()
        labels = (route, method if method in _METHODS else "other", status)
        histogram = self._by_labels.get(labels)
        if histogram is None:  # looking labels up in the library costs as much as the observation
            histogram = self._by_labels[labels] = self._requests.labels(*map(str, labels))
        histogram.observe(seconds)

    @contextmanager
    def store_round_trip(self, operation: str) -> Iterator[None]:
        """Measure what happens inside as one round trip."""
        began = perf_counter()
        try:
            yield
        except Exception:
            self.store_failed(operation)
            raise
        finally:
            self._store_seconds.labels(operation).observe(perf_counter() - began)

    def store_failed(self, operation: str) -> None:
        """A round trip failed, or some part of it."""
        self._store_failures.labels(operation).inc()

    def served_versions(self, versions: Sequence[str]) -> None:
        """These versions answer now."""
        for version in self._versions.difference(versions):
            self._model.labels(version).set(0)  # in the file of this worker, from which nothing can be removed
            self._model.remove(version)
        self._versions = frozenset(versions)
        for version in versions:
            self._model.labels(version).set(1)
        self._accuracy.serve(versions)

    def page(self) -> bytes:
        """The metrics page: of all workers where there are several."""
        self._accuracy.write()
        registry = self._registry
        if MULTIPROCESS_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        whole = CollectorRegistry()
        whole.register(Ratios(registry))
        return generate_latest(whole)


def _forget_dead_processes() -> None:
    """Drop the gauges of workers that died: a worker started in the place of one would add to its leftovers."""
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
