"""Hyperparameters of a training run, with their defaults, ranges and help texts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ingest.errors import DataError


@dataclass(frozen=True, slots=True)
class _Range:
    text: str
    low: float
    high: float = math.inf
    low_is_open: bool = False
    high_is_open: bool = False

    def contains(self, value: float) -> bool:
        above = value > self.low if self.low_is_open else value >= self.low
        below = value < self.high if self.high_is_open else value <= self.high
        return above and below and math.isfinite(value)


def _at_least(low: int) -> _Range:
    return _Range(f"a whole number of at least {low}", low)


_POSITIVE = _Range("a number above 0", 0.0, low_is_open=True)
_AT_LEAST_ZERO = _Range("a number of at least 0", 0.0)
_PROBABILITY = _Range("at least 0 and below 1", 0.0, 1.0, high_is_open=True)
_FRACTION = _Range("between 0 and 1", 0.0, 1.0)


def _hyperparameter(default: Any, allowed: _Range, help_text: str) -> Any:  # noqa: ANN401 - typed where it is used
    return field(default=default, metadata={"allowed": allowed, "help": help_text})


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Hyperparameters of a run; each field's `metadata["help"]` explains it.

    The defaults measured best on MovieLens-1M (decisions 0015, 0043 and 0073); `choose_hyperparameters` adapts them
    to other data.

    Raises:
        DataError: a value is outside its range.
    """

    window: int = _hyperparameter(200, _at_least(1), "steps in a training row")
    batch: int = _hyperparameter(184, _at_least(1), "rows in an optimisation step")
    epochs: int = _hyperparameter(400, _at_least(1), "passes over the data; the learning rate reaches 0 at the last")
    learning_rate: float = _hyperparameter(1.6e-2, _POSITIVE, "Adam's learning rate at the end of the warm-up")
    warmup_steps: int = _hyperparameter(200, _at_least(0), "steps of linear warm-up")
    dropout: float = _hyperparameter(0.2, _PROBABILITY, "dropout probability within the layers")
    embedding_dropout: float = _hyperparameter(0.2, _PROBABILITY, "dropout probability of the item embeddings")
    table_decay: float = _hyperparameter(
        0.0,
        _AT_LEAST_ZERO,
        "decoupled weight decay of the item table; 0: none, unless validation is best early and better with 3",
    )
    balance: float = _hyperparameter(
        0.0, _FRACTION, "an event of a user with n events weighs n^-BALANCE: 0 weighs events equally, 1 users"
    )
    teachers: int = _hyperparameter(
        0, _at_least(0), "models to train first, which this model is distilled from; serving costs the same"
    )
    temperature: float = _hyperparameter(
        1.0, _POSITIVE, "divisor of the teachers' scores; below 1 it sharpens their distributions"
    )
    full_softmax: int = _hyperparameter(
        100_000, _at_least(0), "largest catalogue for the full softmax; a larger one is trained on sampled negatives"
    )
    # With the column of the target the number of logits is a power of two.
    negatives: int = _hyperparameter(
        8_191, _at_least(2), "sampled negatives per step: half from the batch's targets, half from all items"
    )
    evaluate_every: int = _hyperparameter(
        20, _at_least(1), "epochs between validations, NDCG@10 on each user's last but one event"
    )
    patience: int = _hyperparameter(6, _at_least(1), "validations without improvement before training stops")
    seed: int = _hyperparameter(1, _at_least(0), "seed of the weights, the rows and dropout")

    def __post_init__(self) -> None:
        for entry in fields(self):
            allowed: _Range = entry.metadata["allowed"]
            if not allowed.contains(value := getattr(self, entry.name)):
                raise DataError(f"{entry.name} must be {allowed.text}, not {value}")

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name, ready for JSON."""
        return asdict(self)
