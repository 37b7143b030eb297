"""Metrics of HTTP requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.observability.buckets import DURATION_SECONDS

_METHODS = frozenset(("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"))


class HttpMetrics:
    """Duration and outcome of requests. No label holds text from a client."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Histogram(
            "recblr_http_request_seconds",
            "Time from the arrival of a request to the end of its response.",
            ["route", "method", "status"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self._in_progress = Gauge(
            "recblr_http_requests_in_progress",
            "Requests that have arrived and are not answered yet.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._rate_limited = Counter(
            "recblr_rate_limited",
            "Requests refused by the rate limit (429). `key` is the position of the key in RECBLR_API_KEYS.",
            ["key"],
            registry=registry,
        )
        self._by_labels: dict[tuple[str, str, int], Histogram] = {}

    def request_started(self) -> None:
        """Count a request that has arrived; `request_finished` must follow."""
        self._in_progress.inc()

    def request_finished(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record a finished request; `route` is the template of the route."""
        self._in_progress.dec()
        labels = (route, method if method in _METHODS else "other", status)
        histogram = self._by_labels.get(labels)
        if histogram is None:  # the library's own lookup of labels costs as much as the observation
            histogram = self._by_labels[labels] = self._requests.labels(*map(str, labels))
        histogram.observe(seconds)

    def rate_limited(self, position: int) -> None:
        """Count a request refused by the rate limit of a key."""
        self._rate_limited.labels(str(position)).inc()
