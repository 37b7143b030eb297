"""The metrics page of one worker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from service.observability.metrics import HttpMetrics, PrometheusMeter, route_of
from tests.api.app_harness import AppHarness
from tests.core.memory_store import MemoryStore


def test_route_of_is_template_or_unmatched() -> None:
    assert route_of({"route": SimpleNamespace(path="/v1/users/{user_id}")}) == "/v1/users/{user_id}"
    assert route_of({"path": "/v1/users/alice"}) == "unmatched"


def test_labels_never_hold_text_from_clients(harness: AppHarness) -> None:
    for user in ("alice", "bob"):
        harness.post("/v1/events?k=1", json={"user_id": user, "item_id": "1"})
        harness.get(f"/v1/users/{user}/recommendations")
    harness.get("/nowhere/alice")
    harness.call("BREW", "/v1/events")
    response = harness.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    page = response.text
    for line in (
        'recblr_http_request_seconds_count{method="POST",route="/v1/events",status="200"} 2.0',
        '{method="GET",route="/v1/users/{user_id}/recommendations",status="200"} 2.0',
        'recblr_http_request_seconds_count{method="GET",route="unmatched",status="404"} 1.0',
        "recblr_http_requests_in_progress 1.0",
        'recblr_store_seconds_count{operation="append_and_read"} 4.0',
        'recblr_model_info{version="v1"} 1.0',
        "recblr_replay_events_count 4.0",
        "recblr_cold_starts_total 0.0",
        "recblr_snapshots_damaged_total 0.0",
    ):
        assert line in page, line
    assert "alice" not in page
    assert "BREW" not in page


def test_failed_append_is_counted(tmp_path: Path) -> None:
    store = MemoryStore()
    harness = AppHarness(tmp_path, store=store).start()
    harness.get("/v1/users/u/recommendations")
    store.down = True
    harness.refused(503, harness.post("/v1/events", json={"user_id": "u", "item_id": "1"}))
    page = harness.get("/metrics").text
    assert 'recblr_store_errors_total{operation="append_and_read"} 1.0' in page
    assert 'recblr_store_seconds_count{operation="append_and_read"} 2.0' in page
    harness.close()


def test_gauges_of_dead_workers_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = tmp_path / f"gauge_livesum_{gone.pid}.db", tmp_path / f"gauge_livesum_{os.getpid()}.db"
    dead.touch()
    alive.touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    PrometheusMeter()
    assert (dead.exists(), alive.exists()) == (False, True)


def test_reload_of_several_workers_does_not_warn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    meter = PrometheusMeter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for version in ("v1", "v2", "v1"):
            meter.served_versions((version,))


def test_reload_replaces_model_version(harness: AppHarness) -> None:
    harness.get("/metrics")
    asyncio.run(harness.models.reload("v9"))
    page = harness.get("/metrics").text
    assert 'recblr_model_info{version="v9"} 1.0' in page
    assert 'version="v1"' not in page


def test_requests_are_counted_by_route_method_and_status() -> None:
    registry = CollectorRegistry()
    metrics = HttpMetrics(registry)
    for method, status in (("GET", 200), ("GET", 200), ("GET", 404), ("BREW", 405)):
        metrics.in_progress.inc()
        metrics.request_finished("/v1/model", method, status, 0.25)

    def count(method: str, status: str) -> float | None:
        labels = {"route": "/v1/model", "method": method, "status": status}
        return registry.get_sample_value("recblr_http_request_seconds_count", labels)

    assert (count("GET", "200"), count("GET", "404")) == (2, 1)
    assert (count("other", "405"), count("BREW", "405")) == (1, None)


def test_request_is_in_progress_until_finished() -> None:
    registry = CollectorRegistry()
    metrics = HttpMetrics(registry)
    metrics.in_progress.inc()
    metrics.in_progress.inc()
    metrics.request_finished("/healthz", "GET", 200, 0.001)
    assert registry.get_sample_value("recblr_http_requests_in_progress") == 1


def test_rate_limited_requests_are_counted_by_position_of_key() -> None:
    registry = CollectorRegistry()
    metrics = HttpMetrics(registry)
    metrics.rate_limited(2)
    assert registry.get_sample_value("recblr_rate_limited_total", {"key": "2"}) == 1
