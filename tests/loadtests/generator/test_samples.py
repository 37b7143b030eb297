"""Summary statistics of samples."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.generator.samples import BROKEN, UNANSWERED, Samples, percentiles


def test_percentiles_are_milliseconds() -> None:
    assert percentiles(np.arange(1, 1002) / 1000) == {
        "p50": 501.0,
        "p90": 901.0,
        "p99": 991.0,
        "p99.9": 1000.0,
        "max": 1001.0,
    }
    assert percentiles(np.array([])) == {}


@pytest.fixture
def samples() -> Samples:
    """Eleven requests in one second: one is answered late, two fail."""
    samples = Samples(["read", "write"])
    samples.origin, samples.seconds = 100.0, 1.0
    for n in range(8):
        samples.add(100.0 + n / 10, 100.01 + n / 10, 100.02 + n / 10, 200, n % 2)
    samples.add(100.8, 100.8, 100.9, BROKEN, 0)
    samples.add(100.9, 100.9, 101.4, 201, 1)
    samples.add(100.9, 100.9, 101.9, UNANSWERED, 1)
    return samples


def test_rate_counts_successful_answers_within_the_run(samples: Samples) -> None:
    summary = samples.summary()
    assert summary["requests"] == 11
    assert summary["achieved_per_s"] == 8.0
    assert summary["errors"] == {"connection broke": 1, "unanswered": 1}
    assert summary["by_kind"]["read"]["requests"] == 5
    assert summary["send_delay_ms"]["p50"] == 10.0


def test_latency_over_time_is_grouped_by_due_time(samples: Samples) -> None:
    windows = samples.over_time(2)
    assert [middle for middle, _, _ in windows] == [0.25, 0.75]
    assert windows[0][1:] == (20.0, 20.0)
    assert windows[1][2] > 900


def test_run_without_requests_has_no_figures() -> None:
    empty = Samples(["read"])
    assert empty.over_time() == empty.distribution() == []
    assert empty.summary()["latency_ms"] == {}


def test_merged_samples_count_the_requests_of_all_runs(samples: Samples) -> None:
    later = Samples(["read", "write"])
    later.origin, later.seconds = 100.5, 1.0
    later.add(100.6, 100.6, 100.7, 200, 1)
    merged = Samples.merged([samples, later])
    assert (merged.origin, merged.seconds, len(merged)) == (100.0, 1.0, 12)
    assert merged.summary()["by_kind"]["write"]["requests"] == samples.summary()["by_kind"]["write"]["requests"] + 1
    assert merged.summary()["achieved_per_s"] == 9.0
    assert len(samples) == 11
