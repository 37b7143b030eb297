"""Metrics of background jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.core.jobs.backfill_progress_record import BackfillWork
from service.core.jobs.streams.stream_consumer import REFUSED


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
    """Metrics of one stream's consumer; implements `StreamMeter` of `core.jobs.streams.stream_consumer`."""

    def __init__(self, registry: CollectorRegistry, prefix: str, contents: str, outcomes: Sequence[str]) -> None:
        """Create the metrics.

        Args:
            registry: gets them.
            prefix: beginning of their names.
            contents: what the entries hold, for the descriptions.
            outcomes: those of an entry, for the descriptions.
        """
        self._entries = Counter(
            f"{prefix}_entries",
            f"Finished entries of the stream of {contents}, by outcome: {', '.join(outcomes)} or {REFUSED}.",
            ["outcome"],
            registry=registry,
        )
        self._lag = Gauge(
            f"{prefix}_lag",
            f"Unfinished entries of the stream of {contents}. NaN: Redis does not know.",
            registry=registry,
            multiprocess_mode="livemax",  # only one worker reads the stream; the others report 0
        )

    def stream_entries(self, outcome: str, count: int) -> None:
        """See `StreamMeter`."""
        self._entries.labels(outcome).inc(count)

    def stream_lag(self, entries: int | None) -> None:
        """See `StreamMeter`."""
        self._lag.set(float("nan") if entries is None else entries)


class CatalogueMetrics:
    """Metrics of each worker's copy and of its vectors of new items.

    Implements `core.jobs.catalogue_services.CatalogueMeters`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = Counter(
            "recblr_catalogue_changes", "Changed items that a worker has applied to its copy.", registry=registry
        )
        self._read_again = Counter(
            "recblr_catalogue_shards_read_again",
            "Shards of the catalogue that a worker read again: a failover undid changes, or it missed too many.",
            registry=registry,
        )
        self._age = Gauge(
            "recblr_catalogue_age_seconds",
            "Seconds since the oldest copy of the catalogue was known to be current.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._lag = Gauge(
            "recblr_catalogue_lag",
            "Changes that the copy furthest behind lacks.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._items = Gauge(
            "recblr_catalogue_items",
            "Items in the catalogue, without deleted ones.",
            registry=registry,
            multiprocess_mode="livemax",
        )

        self._vectors = Gauge(
            "recblr_item_vectors",
            "Vectors of new items that the worker furthest behind holds, by model version.",
            ["version"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._waiting = Gauge(
            "recblr_item_vectors_waiting",
            "Items whose vectors the worker furthest behind has yet to compute, over all its models.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._vectors_age = Gauge(
            "recblr_item_vectors_age_seconds",
            "Seconds since the worker furthest behind was known to hold all vectors.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._versions: set[str] = set()

    def item_vectors(self, held: Mapping[str, int], waiting: int, age_seconds: float) -> None:
        """See `core.jobs.new_items.vector_sync.VectorMeter`."""
        for version in self._versions - held.keys():
            self._vectors.labels(version).set(0)  # a worker's file cannot shrink
        self._versions = set(held)
        for version, count in held.items():
            self._vectors.labels(version).set(count)
        self._waiting.set(waiting)
        self._vectors_age.set(age_seconds if held else 0.0)

    def changes_applied(self, count: int) -> None:
        """See `CatalogueMeter`."""
        self._changes.inc(count)

    def shard_read_again(self) -> None:
        """See `CatalogueMeter`."""
        self._read_again.inc()

    def catalogue_state(self, age_seconds: float, lag: int) -> None:
        """See `CatalogueMeter`."""
        self._age.set(age_seconds)
        self._lag.set(lag)

    def catalogue_items(self, count: int) -> None:
        """See `CatalogueMeter`."""
        self._items.set(count)
