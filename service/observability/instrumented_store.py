"""Store wrapper that measures every round trip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.core.attribution.credits import CounterPage
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, History, LogView, Merged, SnapshotPut
from service.core.ports import Store
from service.observability.buckets import DURATION_SECONDS


class StoreMetrics:
    """Duration and failures of round trips, labelled by operation."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "recblr_store_seconds",
            "Duration of a store round trip.",
            ["operation"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "recblr_store_errors",
            "Store round trips that failed, in whole or in part.",
            ["operation"],
            registry=registry,
        )
        self._memory_used = Gauge(
            "recblr_store_memory_used_ratio",
            "Used fraction of the event log's memory limit; 0 without a limit. At 1 events are refused.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._seconds_of = cache(self._seconds.labels)  # the library's own lookup costs as much as the observation

    @contextmanager
    def round_trip(self, operation: str) -> Iterator[None]:
        """Measure the enclosed block as one round trip."""
        started_at = perf_counter()
        try:
            yield
        except Exception:
            self.failed(operation)
            raise
        finally:
            self._seconds_of(operation).observe(perf_counter() - started_at)

    def failed(self, operation: str) -> None:
        """Count a round trip that failed, in whole or in part."""
        self._errors.labels(operation).inc()

    def memory_used(self, fraction: float | None) -> None:
        """Record how full the store is."""
        self._memory_used.set(fraction or 0.0)


class InstrumentedStore:
    """Any `core.ports.Store`, measured."""

    def __init__(self, store: Store, metrics: StoreMetrics) -> None:
        self._store = store
        self._metrics = metrics

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store`."""
        with self._metrics.round_trip("append_and_read"):
            views = await self._store.append_and_read(requests)
        if any(isinstance(view, StoreUnavailable) for view in views):
            self._metrics.failed("append_and_read")
        return views

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        """See `Store`."""
        with self._metrics.round_trip("put_snapshots"):
            return await self._store.put_snapshots(puts)

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        """See `Store`."""
        with self._metrics.round_trip("history"):
            return await self._store.history(user_id, before, limit)

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        """See `Store`."""
        with self._metrics.round_trip("delete_event"):
            return await self._store.delete_event(user_id, event_id)

    async def delete_user(self, user_id: str) -> int:
        """See `Store`."""
        with self._metrics.round_trip("delete_user"):
            return await self._store.delete_user(user_id)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """See `Store`."""
        with self._metrics.round_trip("merge"):
            return await self._store.merge(user_id, from_user_id)

    async def finish_merges(self) -> int:
        """See `Store`."""
        with self._metrics.round_trip("finish_merges"):
            return await self._store.finish_merges()

    async def expire(self, user_ids: Sequence[str]) -> int:
        """See `Store`."""
        with self._metrics.round_trip("expire"):
            return await self._store.expire(user_ids)

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """See `Store`."""
        with self._metrics.round_trip("users"):
            return await self._store.users(cursor, limit)

    async def attribution_counters(self, pages: Sequence[CounterPage]) -> list[tuple[dict[str, int], str]]:
        """See `Store`."""
        with self._metrics.round_trip("attribution_counters"):
            return await self._store.attribution_counters(pages)

    async def records(self) -> dict[str, str]:
        """See `Store`."""
        with self._metrics.round_trip("records"):
            return await self._store.records()

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `Store`."""
        with self._metrics.round_trip("compare_and_set"):
            return await self._store.compare_and_set(name, expected, text)

    async def ping(self) -> None:
        """See `Store`."""
        with self._metrics.round_trip("ping"):
            await self._store.ping()

    async def memory_used(self) -> float | None:
        """See `Store`."""
        with self._metrics.round_trip("memory_used"):
            used = await self._store.memory_used()
        self._metrics.memory_used(used)
        return used

    async def close(self) -> None:
        """See `Store`."""
        await self._store.close()
