"""Test a new version on live traffic, then promote or withdraw it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.errors import DataError
from model.training.live_test.sequential_test import Decision, HitCount, SequentialTest
from model.training.live_test.service_client import ServiceClient
from model.training.publishing.registry import withdraw


@dataclass(frozen=True, slots=True)
class LiveTestJob:
    """Inputs of a live test.

    Attributes:
        url: address of the service.
        registry: model registry of the service.
        share: fraction of the users that the candidate answers.
        hours: longest time; without a decision the candidate is promoted, because it was not worse before.
        test: settings of the sequential test.
        poll_seconds: time between two looks at the counters.
    """

    url: str
    registry: Path
    share: float
    hours: float
    test: SequentialTest
    poll_seconds: float = 30.0


def run_live_test(job: LiveTestJob, version: str) -> dict[str, Any]:
    """Test a published version on live traffic.

    The better one of it and the live model answers all users at the end. If the candidate is worse, it is withdrawn
    from the registry, and is never published again. If the service cannot be asked any more, the A/B test goes on
    until somebody ends it.

    Returns:
        `outcome` ("promoted" or "withdrawn"), and the figures of both models.

    Raises:
        DataError: the service does not answer or refuses.
    """
    with ServiceClient(job.url) as service:
        live = service.live_version()
        service.begin_test(version, job.share)
        deadline = time.monotonic() + job.hours * 3600.0
        decision, counts = Decision.UNDECIDED, service.hit_counts()
        failures = 0
        while decision is Decision.UNDECIDED and time.monotonic() < deadline:
            time.sleep(job.poll_seconds)
            try:
                counts = service.hit_counts()
                failures = 0
            except DataError:  # such as a restart of the service, which keeps the test
                failures += 1
                if failures > 10:
                    raise
                continue
            decision = job.test.decide(counts.get(version, HitCount()), counts.get(live, HitCount()))
        is_withdrawn = decision is Decision.WORSE
        service.end_test(live if is_withdrawn else version)
    if is_withdrawn:
        withdraw(job.registry, version)
    return {
        "outcome": "withdrawn" if is_withdrawn else "promoted",
        "decision": decision.value,
        "candidate": _figures(counts.get(version, HitCount())),
        "live": _figures(counts.get(live, HitCount())),
    }


def _figures(count: HitCount) -> dict[str, float]:
    return {"events": count.events, "hr@10": count.rate}
