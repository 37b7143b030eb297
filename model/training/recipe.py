"""How to train: the numbers of one run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run's settings. Defaults suit histories of a hundred events and more, such as MovieLens-1M's.

    window         targets in a training window
    batch          windows in a step
    epochs         passes over the data; the cosine schedule ends at the last
    learning_rate  Adam's, at the end of the warm-up
    warmup_steps   steps of linear warm-up
    dropout        probability
    evaluate_every epochs between validations (NDCG@10 on the last but one event)
    patience       validations without a better one before the run stops
    seed           of weights, windows and dropout
    """

    window: int = 200
    batch: int = 512
    epochs: int = 270
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    dropout: float = 0.2
    evaluate_every: int = 10
    patience: int = 8
    seed: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)
