"""Metrics of the micro-batchers, labelled by stage."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.observability.buckets import DURATION_SECONDS

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


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
            "recblr_batch_size", "Requests in a batch.", ["stage"], buckets=_SIZES, registry=registry
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
