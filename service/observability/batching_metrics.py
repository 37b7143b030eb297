"""What micro-batchers measure, by stage."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class StageMeter:
    """The metrics of one micro-batcher; `batching.BatchMeter`."""

    _sizes: Histogram
    _seconds: Histogram
    _queue: Gauge
    _shed: Counter
    _expired: Counter

    def batch_finished(self, size: int, seconds: float, queued: int) -> None:
        """A batch ran."""
        self._sizes.observe(size)
        self._seconds.observe(seconds)
        self._queue.set(queued)

    def request_rejected(self) -> None:
        """A job was refused."""
        self._shed.inc()

    def requests_expired(self, count: int) -> None:
        """Jobs were not begun in time."""
        self._expired.inc(count)


class BatchingMetrics:
    """The metrics of all micro-batchers of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sizes = Histogram(
            "recblr_batch_size", "Jobs in a micro-batch", ["stage"], buckets=_SIZES, registry=registry
        )
        self._seconds = Histogram(
            "recblr_batch_seconds", "Time of a micro-batch", ["stage"], buckets=SECONDS, registry=registry
        )
        self._queue = Gauge(
            "recblr_queue_length",
            "Jobs that waited when the last micro-batch ended",
            ["stage"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._shed = Counter(
            "recblr_shed", "Jobs refused because the queue was full (429)", ["stage"], registry=registry
        )
        self._expired = Counter(
            "recblr_deadline_exceeded",
            "Jobs not begun because their request's deadline had passed (503)",
            ["stage"],
            registry=registry,
        )

    def of(self, stage: str) -> StageMeter:
        """What the micro-batcher of `stage` reports to."""
        return StageMeter(
            self._sizes.labels(stage),
            self._seconds.labels(stage),
            self._queue.labels(stage),
            self._shed.labels(stage),
            self._expired.labels(stage),
        )
