"""Sequential test of two rates, valid at every look.

The mixture sequential probability ratio test (Robbins 1970; Johari, Pekelis and Walsh 2017): under equal rates the
probability that the ratio ever reaches 1 / alpha is at most alpha, however often it is looked at. The project's only
sequential test: promotion of a model uses it, and the service's experiments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

_MAX_EXPONENT = 700.0  # exp() of it is still finite


class Decision(Enum):
    """State of a test."""

    UNDECIDED = "undecided"
    BETTER = "better"
    WORSE = "worse"


def mixture_ratio(difference: float, variance: float, expected: float) -> float:
    """Return the mixture likelihood ratio of different against equal means.

    Args:
        difference: Estimated difference of the means.
        variance: Variance of the estimate.
        expected: Standard deviation of the differences that are expected. It decides how early differences of this
            size are found, not how often the test errs.
    """
    prior = expected**2
    exponent = prior * difference**2 / (2.0 * variance * (variance + prior))
    return math.sqrt(variance / (variance + prior)) * math.exp(min(exponent, _MAX_EXPONENT))


def interval_half_width(variance: float, expected: float, alpha: float) -> float:
    """Return the half width of the always-valid interval.

    With probability 1 - alpha the intervals of all looks hold the true difference. Arguments as in `mixture_ratio`.
    """
    prior = expected**2
    log_limit = 2.0 * math.log(1.0 / alpha) + math.log((variance + prior) / variance)
    return math.sqrt(variance * (variance + prior) / prior * log_limit)


@dataclass(frozen=True, slots=True)
class HitCount:
    """Evaluated events of one model, and hits among the first ten."""

    events: float = 0.0
    hits: float = 0.0

    @property
    def rate(self) -> float:
        """HR@10."""
        return self.hits / self.events if self.events else 0.0


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """Settings of the test of two hit rates.

    Attributes:
        alpha: probability of a decision between equal models, at most.
        expected_difference: see `mixture_ratio`.
        design_effect: factor by which the variance of a mean is larger than for independent events. Events of one
            user are not independent.
        min_events: events of each model before the first decision; the test assumes means of many events.
    """

    alpha: float = 0.05
    expected_difference: float = 0.03
    design_effect: float = 2.0
    min_events: int = 200

    def decide(self, candidate: HitCount, live: HitCount) -> Decision:
        """Compare the candidate with the live model."""
        if min(candidate.events, live.events) < self.min_events or self.ratio(candidate, live) < 1.0 / self.alpha:
            return Decision.UNDECIDED
        return Decision.BETTER if candidate.rate > live.rate else Decision.WORSE

    def ratio(self, candidate: HitCount, live: HitCount) -> float:
        """Return the mixture likelihood ratio of different against equal rates."""
        pooled = (candidate.hits + live.hits + 1.0) / (candidate.events + live.events + 2.0)
        variance = self.design_effect * pooled * (1.0 - pooled) * (1.0 / candidate.events + 1.0 / live.events)
        return mixture_ratio(candidate.rate - live.rate, variance, self.expected_difference)
