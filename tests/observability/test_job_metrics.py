"""Metrics of backfills and of stream consumers."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter

from service.core.jobs.backfill_progress_record import BackfillWork
from service.observability.job_metrics import BackfillMetrics, StreamMetrics


def test_backfill_work_and_progress_are_reported() -> None:
    registry = CollectorRegistry()
    metrics = BackfillMetrics(registry, Counter("damaged", "", registry=registry))
    metrics.backfill_progress(0.25)
    metrics.backfilled(BackfillWork(users=10, behind=4, snapshots=3, events=20))
    metrics.backfilled(BackfillWork(users=5, behind=1, snapshots=1, events=2))
    metrics.snapshot_damaged()
    found = [
        registry.get_sample_value(f"recblr_backfill_{name}")
        for name in ("users_total", "snapshots_total", "events_total", "share", "running")
    ]
    assert found == [15, 4, 22, 0.25, 1]
    assert registry.get_sample_value("damaged_total") == 1


def test_ended_backfill_keeps_its_share_and_is_not_running() -> None:
    registry = CollectorRegistry()
    metrics = BackfillMetrics(registry, Counter("damaged", "", registry=registry))
    metrics.backfill_progress(1.0)
    metrics.backfill_progress(None)
    assert registry.get_sample_value("recblr_backfill_share") == 1.0
    assert registry.get_sample_value("recblr_backfill_running") == 0


def test_stream_entries_are_counted_by_outcome() -> None:
    registry = CollectorRegistry()
    metrics = StreamMetrics(registry, "recblr_stream", "events", ("recorded", "duplicate"))
    metrics.stream_entries("recorded", 3)
    metrics.stream_entries("refused", 1)
    metrics.stream_entries("recorded", 2)
    assert registry.get_sample_value("recblr_stream_entries_total", {"outcome": "recorded"}) == 5
    assert registry.get_sample_value("recblr_stream_entries_total", {"outcome": "refused"}) == 1


def test_unknown_stream_lag_is_nan() -> None:
    registry = CollectorRegistry()
    metrics = StreamMetrics(registry, "recblr_stream", "events", ("recorded", "duplicate"))
    metrics.stream_lag(12)
    assert registry.get_sample_value("recblr_stream_lag") == 12
    metrics.stream_lag(None)
    assert math.isnan(registry.get_sample_value("recblr_stream_lag") or 0.0)
