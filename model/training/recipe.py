"""How to train: the numbers of one run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run's settings. The defaults measured best on MovieLens-1M: see DECISIONS.md.

    window         steps in a training row
    batch          rows in an optimisation step
    epochs         passes over the data; the cosine schedule ends at the last
    learning_rate  Adam's, at the end of the warm-up
    warmup_steps   steps of linear warm-up
    dropout        probability
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
    evaluate_every: int = 20
    patience: int = 6
    seed: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)
