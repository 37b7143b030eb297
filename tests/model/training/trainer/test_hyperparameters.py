"""Ranges and help texts of the hyperparameters."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from ingest.errors import DataError
from model.training.trainer.hyperparameters import Hyperparameters


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
        ("teachers", -1),
        ("table_decay", -0.1),
        ("balance", -0.1),
        ("balance", 1.1),
        ("balance", float("nan")),
    ],
)
def test_value_out_of_range_raises_an_error_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(DataError, match=name):
        Hyperparameters(**{name: value})


def test_bounds_are_allowed() -> None:
    Hyperparameters(window=1, batch=1, epochs=1, warmup_steps=0, dropout=0.0, evaluate_every=1, patience=1, seed=0)


def test_every_hyperparameter_has_a_help_text() -> None:
    assert all(len(field.metadata["help"]) > 10 for field in fields(Hyperparameters))


def test_to_dict_can_create_the_same_hyperparameters() -> None:
    hyperparameters = Hyperparameters(window=7, dropout=0.5)
    assert Hyperparameters(**hyperparameters.to_dict()) == hyperparameters
