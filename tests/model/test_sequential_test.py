"""The sequential test: how often it errs, and what it finds."""

from __future__ import annotations

import numpy as np

from model.sequential_test import Decision, HitCount, SequentialTest


def decide_while_watching(rates: tuple[float, float], events: int, seed: int, test: SequentialTest) -> Decision:
    """Look every 50 events; a tenth are the candidate's."""
    rng = np.random.default_rng(seed)
    is_candidate = rng.random(events) < 0.1
    hits = rng.random(events) < np.where(is_candidate, *rates)
    for end in range(50, events + 1, 50):
        seen, hit = is_candidate[:end], hits[:end]
        candidate = HitCount(float(seen.sum()), float((seen & hit).sum()))
        decision = test.decide(candidate, HitCount(end - candidate.events, float(hit.sum()) - candidate.hits))
        if decision is not Decision.UNDECIDED:
            return decision
    return Decision.UNDECIDED


def test_equal_models_are_told_apart_at_most_alpha_of_the_time() -> None:
    """Independent events, looked at all the time: even without the design effect."""
    test = SequentialTest(alpha=0.05, design_effect=1.0)
    decisions = [decide_while_watching((0.3, 0.3), 20_000, seed, test) for seed in range(300)]
    errors = sum(decision is not Decision.UNDECIDED for decision in decisions)
    assert errors <= 0.05 * 300


def test_worse_and_better_models_are_found() -> None:
    test = SequentialTest()
    for seed in range(20):
        assert decide_while_watching((0.2, 0.3), 30_000, seed, test) is Decision.WORSE
        assert decide_while_watching((0.4, 0.3), 30_000, seed, test) is Decision.BETTER


def test_few_events_decide_nothing() -> None:
    test = SequentialTest(min_events=200)
    assert test.decide(HitCount(199, 0), HitCount(100_000, 90_000)) is Decision.UNDECIDED
    assert test.decide(HitCount(200, 0), HitCount(100_000, 90_000)) is Decision.WORSE
    assert test.decide(HitCount(), HitCount()) is Decision.UNDECIDED


def test_design_effect_asks_for_more_events() -> None:
    counts = HitCount(1000, 240), HitCount(9000, 2700)
    assert SequentialTest(design_effect=1.0).ratio(*counts) > SequentialTest(design_effect=3.0).ratio(*counts)
