"""How to train: the numbers of one run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from model.training.errors import DataError


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run's settings; raises `DataError` for those that no run can have.

    The defaults measured best on MovieLens-1M: see DECISIONS.md.

    window         steps in a training row
    batch          rows in an optimisation step
    epochs         passes over the data; the cosine schedule ends at the last
    learning_rate  Adam's, at the end of the warm-up
    warmup_steps   steps of linear warm-up
    dropout        probability
    full_softmax   largest catalogue for which the loss is over all items; above it negatives are sampled
    negatives      sampled in a step, half of them among the batch's own targets, half among all items
    evaluate_every epochs between validations (NDCG@10 on the last but one event)
    patience       validations without a better one before the run stops
    seed           of weights, windows and dropout
    """

    window: int = 200
    batch: int = 184
    epochs: int = 400
    learning_rate: float = 1.6e-2
    warmup_steps: int = 200
    dropout: float = 0.2
    full_softmax: int = 100_000
    negatives: int = 8_191  # with the target's column a power of two
    evaluate_every: int = 20
    patience: int = 6
    seed: int = 1

    def __post_init__(self) -> None:
        fewest = {
            "window": 1,
            "batch": 1,
            "epochs": 1,
            "warmup_steps": 0,
            "full_softmax": 0,
            "negatives": 2,
            "evaluate_every": 1,
            "patience": 1,
            "seed": 0,
        }
        for name, low in fewest.items():
            if (value := getattr(self, name)) < low:
                raise DataError(f"{name} must be a whole number from {low}, not {value}")
        if not (self.learning_rate > 0.0 and math.isfinite(self.learning_rate)):
            raise DataError(f"learning_rate must be a number above 0, not {self.learning_rate}")
        if not 0.0 <= self.dropout < 1.0:
            raise DataError(f"dropout must be at least 0 and below 1, not {self.dropout}")

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)
