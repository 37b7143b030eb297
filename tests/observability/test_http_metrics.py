"""Metrics of HTTP requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from service.observability.http_metrics import HttpMetrics


def test_requests_are_counted_by_route_method_and_status() -> None:
    registry = CollectorRegistry()
    metrics = HttpMetrics(registry)
    for method, status in (("GET", 200), ("GET", 200), ("GET", 404), ("BREW", 405)):
        metrics.request_started()
        metrics.request_finished("/v1/model", method, status, 0.25)

    def count(method: str, status: str) -> float | None:
        labels = {"route": "/v1/model", "method": method, "status": status}
        return registry.get_sample_value("recblr_http_request_seconds_count", labels)

    assert (count("GET", "200"), count("GET", "404")) == (2, 1)
    assert (count("other", "405"), count("BREW", "405")) == (1, None)


def test_request_is_in_progress_until_finished() -> None:
    registry = CollectorRegistry()
    metrics = HttpMetrics(registry)
    metrics.request_started()
    metrics.request_started()
    metrics.request_finished("/healthz", "GET", 200, 0.001)
    assert registry.get_sample_value("recblr_http_requests_in_progress") == 1


def test_rate_limited_requests_are_counted_by_position_of_key() -> None:
    registry = CollectorRegistry()
    metrics = HttpMetrics(registry)
    metrics.rate_limited(2)
    assert registry.get_sample_value("recblr_rate_limited_total", {"key": "2"}) == 1
