"""Rates of clicks and conversions, and the test of two versions.

A rate is a ratio of two counters, such as clicks per impression. Events of one user depend on each other, so the
variance of a rate is estimated from the 64 shards of users, which are independent: each has its own counters
(linearization of a ratio of cluster totals, Cochran 1977, section 6.13). Rates are compared by the logarithm of
their ratio, so that 0.05 means an uplift of about 5 %.

Everything here holds at every look: see `model.sequential_test`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.sequential_test import Decision, interval_half_width, mixture_ratio
from service.core.attribution.credits import MICRO, Counts, ShardCounts, total

ALPHA = 0.05  # probability that a test of equal versions ever decides, at most; also of each interval
EXPECTED_UPLIFT = 0.1  # standard deviation of the log ratios that are expected
MIN_EVENTS = 100  # counted events of each version before the first decision
MAX_SPREAD = 10.0  # a rate is not known before the ends of its interval are within this factor of it

# By name: what is counted, and per what.
METRICS = {
    "click_rate": ("clicks", "impressions"),
    "conversion_rate": ("conversions", "impressions"),
    "value_per_impression": ("micro_value", "impressions"),
}


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate, and what its interval follows from.

    Attributes:
        value: The rate.
        log_variance: Variance of its logarithm.
        events: Counted events, those of the numerator.
    """

    value: float
    log_variance: float
    events: float

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        width = math.exp(self._log_width)
        return self.value / width, self.value * width

    @property
    def is_known(self) -> bool:
        """Whether the interval says anything."""
        return self._log_width <= math.log(MAX_SPREAD)

    @property
    def _log_width(self) -> float:
        return interval_half_width(self.log_variance, EXPECTED_UPLIFT, ALPHA)


@dataclass(frozen=True, slots=True)
class Uplift:
    """Comparison of a tested version with the live one.

    Attributes:
        value: Relative difference of the rates: 0.05 is 5 % more.
        low: Lower end of its interval.
        high: Upper end.
        p_value: Always-valid p-value: the smallest alpha at which this look decides.
        decision: Whether the tested version is better.
    """

    value: float
    low: float
    high: float
    p_value: float
    decision: Decision


def rate_of(events: NDArray[np.float64], base: NDArray[np.float64], count: float) -> Rate | None:
    """Return the rate of two counters, if it is known.

    Args:
        events: Numerator of each shard.
        base: Denominator of each shard.
        count: Number of events that the numerator counts.
    """
    number, sum_events, sum_base = len(events), float(events.sum()), float(base.sum())
    if sum_events <= 0 or sum_base <= 0 or count <= 0:
        return None
    value = sum_events / sum_base
    residuals = events - value * base
    clustered = number / (number - 1) * float(residuals @ residuals) / sum_events**2
    independent = max(0.0, 1.0 - count / sum_base) / count  # what events that do not depend on each other have
    variance = max(clustered, independent)
    rate = Rate(value, variance, count) if variance > 0 else None
    return rate if rate and rate.is_known else None


def uplift_of(tested: Rate, live: Rate) -> Uplift:
    """Compare two independent rates."""
    difference, variance = math.log(tested.value / live.value), tested.log_variance + live.log_variance
    ratio = mixture_ratio(difference, variance, EXPECTED_UPLIFT)
    decision = Decision.UNDECIDED
    if min(tested.events, live.events) >= MIN_EVENTS and ratio >= 1.0 / ALPHA:
        decision = Decision.BETTER if difference > 0 else Decision.WORSE
    width = interval_half_width(variance, EXPECTED_UPLIFT, ALPHA)
    low, high = (math.expm1(min(end, 700.0)) for end in (difference - width, difference + width))
    return Uplift(math.expm1(difference), low, high, min(1.0, 1.0 / ratio), decision)


def rates_of(shards: Sequence[Counts]) -> dict[str, Rate | None]:
    """Return every metric of one version from its counters in each shard."""
    rates: dict[str, Rate | None] = {}
    for name, (events, base) in METRICS.items():
        scale = MICRO if events == "micro_value" else 1
        numerators = np.array([getattr(counts, events) for counts in shards], np.float64) / scale
        denominators = np.array([getattr(counts, base) for counts in shards], np.float64)
        counted = "conversions" if events == "micro_value" else events
        rates[name] = rate_of(numerators, denominators, float(sum(getattr(counts, counted) for counts in shards)))
    return rates


@dataclass(frozen=True, slots=True)
class VersionResult:
    """Earnings of one model version.

    Attributes:
        model_version: The version.
        counts: All counted events.
        rates: Metrics by name; None: not known yet.
        positions: Counted events by position.
    """

    model_version: str
    counts: Counts
    rates: Mapping[str, Rate | None]
    positions: Mapping[int, Counts]


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """Earnings of the versions of an A/B test while it ran.

    Attributes:
        experiment: Digest of the test.
        rates: Metrics of each version.
        uplifts: Each other version against the first one, by version and metric.
    """

    experiment: str
    counts: Mapping[str, Counts]
    rates: Mapping[str, Mapping[str, Rate | None]]
    uplifts: Mapping[str, Mapping[str, Uplift | None]]


def version_results(shards: Sequence[ShardCounts], newest: int | None = None) -> list[VersionResult]:
    """Return what each model version earned, the newest first.

    `newest` limits how many there are.
    """
    versions = {version for shard in shards for _, version, _ in shard.positions}
    of_versions = {version: _VersionSums(len(shards)) for version in sorted(versions, reverse=True)[:newest]}
    for index, shard in enumerate(shards):  # a year of nightly versions has some 200,000 entries
        for (_, version, position), counts in shard.positions.items():
            if (sums := of_versions.get(version)) is not None:
                sums.of_shards[index] = sums.of_shards[index].plus(counts)
                sums.positions[position] = sums.positions.get(position, Counts()).plus(counts)
    return [
        VersionResult(version, total(sums.of_shards), rates_of(sums.of_shards), dict(sorted(sums.positions.items())))
        for version, sums in of_versions.items()
    ]


class _VersionSums:
    """Counts of one version, by shard and by position."""

    def __init__(self, shards: int) -> None:
        self.of_shards = [Counts()] * shards
        self.positions: dict[int, Counts] = {}


def experiment_results(shards: Sequence[ShardCounts], live: str) -> list[ExperimentResult]:
    """Return what the versions of each A/B test earned.

    The first version of a test is `live` if it took part, else the oldest.
    """
    found: dict[str, set[str]] = {}
    for shard in shards:
        for experiment, version in shard.experiments:
            found.setdefault(experiment, set()).add(version)
    return [_experiment_result(shards, experiment, live, found[experiment]) for experiment in sorted(found)]


def _experiment_result(
    shards: Sequence[ShardCounts], experiment: str, live: str, versions: set[str]
) -> ExperimentResult:
    ordered = sorted(versions, key=lambda version: (version != live, version))
    of_shards = {
        version: [shard.experiments.get((experiment, version), Counts()) for shard in shards] for version in ordered
    }
    rates = {version: rates_of(counts) for version, counts in of_shards.items()}
    base = rates[ordered[0]]
    uplifts = {}
    for version in ordered[1:]:
        pairs = {name: (rate, base[name]) for name, rate in rates[version].items()}
        uplifts[version] = {name: uplift_of(a, b) if a and b else None for name, (a, b) in pairs.items()}
    counts = {version: total(each) for version, each in of_shards.items()}
    return ExperimentResult(experiment, counts, rates, uplifts)
