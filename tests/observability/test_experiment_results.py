"""Rates and the test of two versions: errors and power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from model.sequential_test import Decision, interval_half_width, mixture_ratio
from service.core.attribution.credits import USER_SHARDS, Counts, ShardCounts
from service.observability.experiment_results import (
    ALPHA,
    EXPECTED_UPLIFT,
    MIN_EVENTS,
    Rate,
    experiment_results,
    rate_of,
    uplift_of,
    version_results,
)

BASE_RATE = 0.05


class Traffic:
    """Impressions and clicks of many runs of one arm, summed in shards.

    Users stay the same over the looks, and click at rates of their own: their events depend on each other.
    """

    def __init__(self, rng: np.random.Generator, runs: int, users: int, rate: float, spread: float) -> None:
        self._rng = rng
        self._rates = np.minimum(1.0, rate * rng.gamma(1 / spread, spread, (runs, users)))
        self._activity = rng.gamma(1.0, 1.0, (runs, users))  # some are seen ten times as often as others
        self._shards = rng.integers(0, USER_SHARDS, users)
        self._order = np.argsort(self._shards, kind="stable")
        self._starts = np.searchsorted(self._shards[self._order], np.arange(USER_SHARDS))
        self.impressions = np.zeros((runs, USER_SHARDS))
        self.clicks = np.zeros((runs, USER_SHARDS))

    def go_on(self, mean_impressions: float) -> None:
        """Let every user see some more."""
        seen = self._rng.poisson(mean_impressions * self._activity)
        clicked = self._rng.binomial(seen, self._rates)
        self.impressions += np.add.reduceat(seen[:, self._order], self._starts, axis=1)
        self.clicks += np.add.reduceat(clicked[:, self._order], self._starts, axis=1)


def decisions(tested: Traffic, live: Traffic, runs: int) -> list[Decision]:
    return [
        decide(tested.clicks[run], tested.impressions[run], live.clicks[run], live.impressions[run])
        for run in range(runs)
    ]


def decide(*arrays: NDArray[np.float64]) -> Decision:
    clicks, impressions, live_clicks, live_impressions = arrays
    rates = rate_of(clicks, impressions, clicks.sum()), rate_of(live_clicks, live_impressions, live_clicks.sum())
    return uplift_of(rates[0], rates[1]).decision if rates[0] and rates[1] else Decision.UNDECIDED


@pytest.mark.parametrize("spread", [0.01, 1.0], ids=["users alike", "users differ"])
def test_equal_versions_are_told_apart_in_less_than_a_twentieth_of_runs(spread: float) -> None:
    """1,000 A/A tests, each looked at 60 times."""
    runs, users, rng = 1000, 400, np.random.default_rng(20261130)
    tested, live = (Traffic(rng, runs, users, BASE_RATE, spread) for _ in range(2))
    alarmed = np.zeros(runs, bool)
    for _ in range(60):
        tested.go_on(4.0)
        live.go_on(4.0)
        alarmed |= [decision is not Decision.UNDECIDED for decision in decisions(tested, live, runs)]
    print(f"false alarms: {alarmed.sum()} of {runs}")
    assert alarmed.sum() < ALPHA * runs


def theoretical_power(uplift: float, variances: NDArray[np.float64], paths: int = 20_000) -> float:
    """Probability that a Gaussian process with these variances ever decides.

    The estimate after a look has the variance of that look; its information, 1 / variance, grows with the events, so
    estimate / variance is a Brownian motion with drift in the information.
    """
    rng = np.random.default_rng(1)
    information = 1.0 / variances
    steps = np.diff(information, prepend=0.0)
    drift = math.log1p(uplift)
    motion = np.cumsum(drift * steps + np.sqrt(steps) * rng.standard_normal((paths, len(steps))), axis=1)
    estimates = motion / information
    limits = [_boundary(variance) for variance in variances]
    return float((estimates >= limits).any(axis=1).mean())


def _boundary(variance: float) -> float:
    return interval_half_width(variance, EXPECTED_UPLIFT, ALPHA)


def test_uplift_of_a_twentieth_is_found_with_the_power_of_theory() -> None:
    runs, users, uplift, looks = 400, 2000, 0.05, 25
    rng = np.random.default_rng(7)
    tested = Traffic(rng, runs, users, BASE_RATE * (1 + uplift), 1e-6)  # theory is that of independent events
    live = Traffic(rng, runs, users, BASE_RATE, 1e-6)
    found, variances = np.zeros(runs, bool), []
    for look in range(1, looks + 1):
        tested.go_on(4.2)
        live.go_on(4.2)
        found |= [decision is Decision.BETTER for decision in decisions(tested, live, runs)]
        clicks = np.array([BASE_RATE * (1 + uplift), BASE_RATE]) * look * 4.2 * users
        variances.append(float((1.0 / clicks).sum()) * (1 - BASE_RATE))
    expected = theoretical_power(uplift, np.array(variances))
    print(f"found {found.mean():.3f}, in theory {expected:.3f}")
    assert 0.5 < expected < 0.99  # else the comparison would show little
    assert found.mean() == pytest.approx(expected, abs=0.05)


def test_interval_ends_where_the_test_decides() -> None:
    for variance in (1e-4, 1e-2, 1.0):
        width = interval_half_width(variance, EXPECTED_UPLIFT, ALPHA)
        assert mixture_ratio(width, variance, EXPECTED_UPLIFT) == pytest.approx(1 / ALPHA)


def test_intervals_of_a_rate_hold_the_true_rate_at_every_look() -> None:
    runs, rng = 300, np.random.default_rng(3)
    traffic, missed = Traffic(rng, runs, 400, BASE_RATE, 1.0), np.zeros(runs, bool)
    truth = (traffic._rates * traffic._activity).sum(axis=1) / traffic._activity.sum(axis=1)
    for _ in range(30):
        traffic.go_on(4.0)
        for run in range(runs):
            rate = rate_of(traffic.clicks[run], traffic.impressions[run], traffic.clicks[run].sum())
            assert rate is not None
            low, high = rate.interval
            missed[run] |= not low <= truth[run] <= high
    assert missed.mean() < ALPHA


def test_users_with_most_events_widen_the_interval() -> None:
    even, uneven = np.full(64, 10.0), np.full(64, 1.0)
    uneven[:16] = (10.0 * 64 - 48) / 16
    base = np.full(64, 100.0)
    narrow, wide = rate_of(even, base, 640.0), rate_of(uneven, base, 640.0)
    assert narrow is not None and wide is not None
    assert narrow.value == wide.value
    assert wide.log_variance > 20 * narrow.log_variance
    uneven[:16] = 1.0
    uneven[0] = 10.0 * 64 - 63  # one user with nearly all events: nothing is known
    assert rate_of(uneven, base, 640.0) is None


def test_few_events_decide_nothing() -> None:
    strong = Rate(0.5, 1e-4, MIN_EVENTS), Rate(0.1, 1e-4, MIN_EVENTS)
    assert uplift_of(*strong).decision is Decision.BETTER
    assert uplift_of(strong[1], strong[0]).decision is Decision.WORSE
    assert uplift_of(Rate(0.5, 1e-4, MIN_EVENTS - 1), strong[1]).decision is Decision.UNDECIDED


def test_rate_without_impressions_is_unknown() -> None:
    nothing, some = np.zeros(64), np.ones(64)
    assert rate_of(some, nothing, 64.0) is None
    assert rate_of(nothing, some, 0.0) is None


def shard(position: int, counts: Counts, experiment: Counts | None = None, version: str = "a") -> ShardCounts:
    found = ShardCounts({(0, version, position): counts})
    if experiment is not None:
        found.experiments["e1", version] = experiment
    return found


def test_versions_sum_over_shards_and_positions() -> None:
    shards = [shard(1, Counts(100, 20)), shard(2, Counts(50, 10, 1, 3_000_000)), shard(1, Counts(1), version="b")]
    newer, older = version_results(shards)
    assert (newer.model_version, older.model_version) == ("b", "a")
    assert older.counts == Counts(150, 30, 1, 3_000_000)
    assert older.counts.value == 3.0
    assert older.positions == {1: Counts(100, 20), 2: Counts(50, 10, 1, 3_000_000)}
    assert older.rates["click_rate"] is not None
    assert older.rates["click_rate"].value == pytest.approx(0.2)
    assert newer.rates["click_rate"] is None


def test_experiment_compares_the_tested_version_with_the_live_one() -> None:
    shards = []
    for number in range(64):
        found = ShardCounts()
        found.experiments["e1", "new"] = Counts(1000, 100 + number % 3)
        found.experiments["e1", "old"] = Counts(1000, 50 + number % 3)
        shards.append(found)
    [result] = experiment_results(shards, live="new")
    assert list(result.rates) == ["new", "old"]
    [result] = experiment_results(shards, live="old")
    assert list(result.uplifts) == ["new"]
    uplift = result.uplifts["new"]["click_rate"]
    assert uplift is not None
    assert uplift.decision is Decision.BETTER
    assert uplift.low < uplift.value < uplift.high
    assert uplift.value == pytest.approx(0.98, abs=0.02)
    assert uplift.p_value < ALPHA
    assert result.uplifts["new"]["conversion_rate"] is None
