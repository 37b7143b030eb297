"""Settings that no run can have are one sentence, not a traceback from the middle of a run."""

from __future__ import annotations

from typing import Any

import pytest

from model.training.errors import DataError
from model.training.recipe import Recipe


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 0),
        ("batch", -1),
        ("epochs", 0),
        ("evaluate_every", 0),
        ("patience", 0),
        ("warmup_steps", -1),
        ("seed", -1),
        ("full_softmax", -1),
        ("negatives", 1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", float("nan")),
    ],
)
def test_a_setting_that_no_run_can_have_is_named(name: str, value: Any) -> None:
    with pytest.raises(DataError, match=name):
        Recipe(**{name: value})


def test_the_bounds_themselves_are_taken() -> None:
    Recipe(window=1, batch=1, epochs=1, warmup_steps=0, dropout=0.0, evaluate_every=1, patience=1, seed=0)
