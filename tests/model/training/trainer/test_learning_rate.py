"""The learning-rate schedule."""

from __future__ import annotations

import pytest

from model.training.trainer.learning_rate import schedule_factor


def test_warm_up_rises_linearly_to_the_peak() -> None:
    factors = [schedule_factor(step, warmup_steps=4, total_steps=100) for step in range(5)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_cosine_falls_from_the_peak_to_zero() -> None:
    factors = [schedule_factor(step, warmup_steps=4, total_steps=100) for step in range(4, 101)]
    assert factors == sorted(factors, reverse=True)
    assert factors[48] == pytest.approx(0.5)
    assert factors[-1] == pytest.approx(0.0)


def test_warm_up_takes_at_most_a_tenth_of_all_steps() -> None:
    assert schedule_factor(10, warmup_steps=200, total_steps=100) == 1.0


def test_steps_after_the_last_stay_at_zero() -> None:
    assert schedule_factor(150, warmup_steps=4, total_steps=100) == pytest.approx(0.0)
