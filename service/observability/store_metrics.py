"""Metrics of the store's round trips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram

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
            self._seconds.labels(operation).observe(perf_counter() - started_at)

    def failed(self, operation: str) -> None:
        """Count a round trip that failed, in whole or in part."""
        self._errors.labels(operation).inc()
