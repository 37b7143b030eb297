"""What the work in the background measures: rebuilds of memos, and events from a stream."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.core.jobs.backfill_progress_record import BackfillWork


class BackfillMetrics:
    """`core.warmer.BackfillMeter`. `memo_damaged` is told of damaged memos."""

    def __init__(self, registry: CollectorRegistry, snapshot_damaged: Callable[[], None]) -> None:
        self._snapshot_damaged = snapshot_damaged
        self._users = Counter("recblr_backfill_users", "Users whose memos a rebuild has looked at", registry=registry)
        self._snapshots = Counter("recblr_backfill_snapshots", "Memos that a rebuild has stored", registry=registry)
        self._events = Counter("recblr_backfill_events", "Events that a rebuild has folded", registry=registry)
        self._share = Gauge(
            "recblr_backfill_share",
            "Share of the users that the last rebuild has looked at, by all workers; 1 when it has ended",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._running = Gauge(
            "recblr_backfill_running", "Workers that rebuild memos", registry=registry, multiprocess_mode="livesum"
        )

    def backfilled(self, work: BackfillWork) -> None:
        """A rebuild of memos has done so much."""
        self._users.inc(work.users)
        self._snapshots.inc(work.snapshots)
        self._events.inc(work.events)

    def backfill_progress(self, share: float | None) -> None:
        """A rebuild has looked at so much of the users; None: this worker rebuilds nothing."""
        self._running.set(share is not None)
        if share is not None:
            self._share.set(share)

    def snapshot_damaged(self) -> None:
        """A memo failed its check and is being rebuilt."""
        self._snapshot_damaged()


class StreamMetrics:
    """`core.consumer.StreamMeter`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._entries = Counter(
            "recblr_stream_entries", "Entries of the stream that were finished", ["outcome"], registry=registry
        )
        self._lag = Gauge(
            "recblr_stream_lag",
            "Entries of the stream that are not finished; NaN if Redis cannot tell",
            registry=registry,
            multiprocess_mode="livemax",  # all but one worker say 0
        )

    def stream_entries(self, outcome: str, count: int) -> None:
        """So many entries of the stream were finished, with this outcome."""
        self._entries.labels(outcome).inc(count)

    def stream_lag(self, entries: int | None) -> None:
        """So many entries of the stream are not finished."""
        self._lag.set(float("nan") if entries is None else entries)
