"""Metrics of the micro-batchers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from service.observability.metrics import BatchingMetrics


def test_stages_are_counted_apart() -> None:
    registry = CollectorRegistry()
    batching = BatchingMetrics(registry)
    engine, store = batching.stage("engine"), batching.stage("append_and_read")
    engine.batch_finished(3, 0.004, 7)
    engine.batch_finished(1, 0.001, 2)
    engine.request_rejected()
    store.requests_expired(5)

    def value(name: str, stage: str) -> float | None:
        return registry.get_sample_value(f"recblr_{name}", {"stage": stage})

    assert (value("batch_size_count", "engine"), value("batch_size_sum", "engine")) == (2, 4)
    assert value("batch_seconds_sum", "engine") == 0.005
    assert (value("queue_length", "engine"), value("queue_length", "append_and_read")) == (2, 0)
    assert (value("queue_rejected_total", "engine"), value("queue_rejected_total", "append_and_read")) == (1, 0)
    assert (value("deadline_exceeded_total", "engine"), value("deadline_exceeded_total", "append_and_read")) == (0, 5)
