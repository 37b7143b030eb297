"""Promotion: A/B test a new version, then promote or withdraw it.

    marked ──▶ A/B test ──▶ better, or undecided after the longest time: promoted
                       └──▶ worse, or ended by an operator for the other version: withdrawn

A job that is killed leaves the mark, with the state of the test, in the registry. The next job continues the test.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ingest.errors import DataError
from model.bundle.ab_test_mark import mark_path
from model.sequential_test import Decision, HitCount, SequentialTest
from model.training.ab_test.ab_test_record import AbTestRecord, read_record
from model.training.ab_test.service_client import ServiceClient
from model.training.publishing.registry import withdraw

_MAX_FAILURES = 10  # in a row; a restart of the service keeps the test
_ENDED = "ended by an operator"


@dataclass(frozen=True, slots=True)
class AbTestSettings:
    """Settings that are not part of the record.

    Attributes:
        poll_seconds: time between two looks at the counters.
        min_events: see `SequentialTest`.
        expected_difference: see `SequentialTest`.
    """

    poll_seconds: float = 30.0
    min_events: int = 200
    expected_difference: float = 0.03


def run_ab_test(registry: Path, version: str, settings: AbTestSettings) -> dict[str, Any]:
    """Test a marked version, or continue a test that was interrupted.

    At the end the better one of it and the live model answers all users. Without a decision the marked version does,
    because it was not worse on the log. A version that is worse is withdrawn, and is never published again.

    Args:
        registry: model registry of the service.
        version: a marked version (model/bundle/ab_test_mark.py).
        settings: how to look at the counters.

    Returns:
        `version`, `outcome` ("promoted" or "withdrawn"), and the figures of both models.

    Raises:
        DataError: the service does not answer or refuses. The test goes on, and a later call continues it.
    """
    record = read_record(registry, version)
    with ServiceClient(record.url, record.counters) as service:
        record = _begin(service, registry, version, record)
        decision, counts = _observe(service, registry, version, record, settings)
        if decision != _ENDED:
            service.end_test(record.live if decision == Decision.WORSE.value else version)
        is_promoted = service.serving().live == version
    if is_promoted:
        mark_path(registry, version).unlink(missing_ok=True)
    else:
        withdraw(registry, version)
    return {
        "version": version,
        "outcome": "promoted" if is_promoted else "withdrawn",
        "decision": decision,
        "candidate": _figures(counts.get(version, HitCount())),
        "live": _figures(counts.get(record.live, HitCount())),
    }


def _begin(service: ServiceClient, registry: Path, version: str, record: AbTestRecord) -> AbTestRecord:
    """Begin the A/B test unless it has begun, and record it."""
    if record.started:
        return record
    serving = service.serving()
    if version not in (serving.live, serving.tested):
        service.begin_test(version, record.share)
    record = replace(record, live=serving.live, started=time.time())
    record.write(registry, version)
    return record


def _observe(
    service: ServiceClient, registry: Path, version: str, record: AbTestRecord, settings: AbTestSettings
) -> tuple[str, Mapping[str, HitCount]]:
    """Look at the counters until the test is decided; return the decision."""
    test = SequentialTest(
        alpha=record.alpha, min_events=settings.min_events, expected_difference=settings.expected_difference
    )
    decision, counts, failures = Decision.UNDECIDED, service.hit_counts(), 0
    while decision is Decision.UNDECIDED:
        try:
            if service.serving().tested != version:
                return _ENDED, counts
            counts, failures = service.hit_counts(), 0
        except DataError:
            failures += 1
            if failures > _MAX_FAILURES:
                raise
        else:
            replace(record, counters=service.counters()).write(registry, version)
            decision = test.decide(counts.get(version, HitCount()), counts.get(record.live, HitCount()))
        if time.time() >= record.started + record.hours * 3600.0:
            break
        if decision is Decision.UNDECIDED:
            time.sleep(settings.poll_seconds)
    return decision.value, counts


def _figures(count: HitCount) -> dict[str, float]:
    return {"events": count.events, "hr@10": count.rate}
