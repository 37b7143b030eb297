"""Metrics of background jobs: backfills and the stream consumer."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.core.jobs.backfill_progress_record import BackfillWork


class BackfillMetrics:
    """Metrics of backfills; implements `core.jobs.backfill_worker.BackfillMeter`."""

    def __init__(self, registry: CollectorRegistry, snapshots_damaged: Counter) -> None:
        self._snapshots_damaged = snapshots_damaged
        self._users = Counter("recblr_backfill_users", "Users processed by backfills.", registry=registry)
        self._snapshots = Counter("recblr_backfill_snapshots", "Snapshots written by backfills.", registry=registry)
        self._events = Counter("recblr_backfill_events", "Events replayed by backfills.", registry=registry)
        self._share = Gauge(
            "recblr_backfill_share",
            "Fraction of the users processed by the last backfill, over all workers. 1: it has ended.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._running = Gauge(
            "recblr_backfill_running", "Workers that run a backfill.", registry=registry, multiprocess_mode="livesum"
        )

    def backfilled(self, work: BackfillWork) -> None:
        """See `BackfillMeter`."""
        self._users.inc(work.users)
        self._snapshots.inc(work.snapshots)
        self._events.inc(work.events)

    def backfill_progress(self, share: float | None) -> None:
        """See `BackfillMeter`."""
        self._running.set(share is not None)
        if share is not None:
            self._share.set(share)

    def snapshot_damaged(self) -> None:
        """See `BackfillMeter`."""
        self._snapshots_damaged.inc()


class StreamMetrics:
    """Metrics of the stream consumer; implements `core.jobs.stream_consumer.StreamMeter`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._entries = Counter(
            "recblr_stream_entries",
            "Stream entries that were finished, by outcome: recorded, duplicate or refused.",
            ["outcome"],
            registry=registry,
        )
        self._lag = Gauge(
            "recblr_stream_lag",
            "Stream entries that are not finished. NaN: Redis does not know.",
            registry=registry,
            multiprocess_mode="livemax",  # only one worker reads the stream; the others report 0
        )

    def stream_entries(self, outcome: str, count: int) -> None:
        """See `StreamMeter`."""
        self._entries.labels(outcome).inc(count)

    def stream_lag(self, entries: int | None) -> None:
        """See `StreamMeter`."""
        self._lag.set(float("nan") if entries is None else entries)
