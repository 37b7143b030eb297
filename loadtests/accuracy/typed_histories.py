"""Accuracy of models on the events of one type.

The last fifth of each history is held out. A model is trained on the rest, and each held-out event of the type is
ranked among all items, after all events before it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import ModelConfig
from model.network import RecBLR
from model.ranking_metrics import hit_rate, ndcg
from model.training.data.interactions import Interactions
from model.training.evaluation.next_event_ranking import PredictionTask, rank_next_events
from model.training.event_types.type_rules import type_column
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.trainer import Trainer
from model.training.trainer.training_run import TrainingRun

HELD_OUT = 0.2


@dataclass(frozen=True, slots=True)
class TypedHistories:
    """Histories of all users, one after the other, each oldest first.

    Attributes:
        data: all events, with types.
        trained: (U,) how many events of each history are trained on.
    """

    data: Interactions
    trained: NDArray[np.int64]

    @classmethod
    def of(
        cls, rows: NDArray[np.int32], types: NDArray[np.uint8], names: Sequence[str], offsets: NDArray[np.int64]
    ) -> TypedHistories:
        """Take events by row (N,) and type (N,).

        A type is an index into `names`.
        """
        items, users = int(rows.max()), len(offsets) - 1
        column = type_column(types.copy(), names)
        data = Interactions(
            rows, offsets, [str(n) for n in range(items)], [str(n) for n in range(users)], types=column
        )
        return cls(data, np.ceil(data.lengths * (1 - HELD_OUT)).astype(np.int64))

    def training_data(self, *, typed: bool) -> Interactions:
        """Return the events to train on, with or without their types."""
        position = np.arange(len(self.data.rows)) - np.repeat(self.data.offsets[:-1], self.data.lengths)
        kept = position < np.repeat(self.trained, self.data.lengths)
        types = None if self.data.types is None or not typed else self.data.types.take(kept)
        offsets = np.concatenate([[0], np.cumsum(self.trained)])
        return replace(self.data, rows=self.data.rows[kept], offsets=offsets, types=types)

    def held_out(self, name: str) -> NDArray[np.int64]:
        """Return the positions of the held-out events of a type."""
        assert self.data.types is not None
        position = np.arange(len(self.data.rows)) - np.repeat(self.data.offsets[:-1], self.data.lengths)
        later = position >= np.repeat(self.trained, self.data.lengths)
        number = list(self.data.types.rules).index(name)
        return np.flatnonzero(later & (self.data.types.codes == number))

    def accuracy(self, network: RecBLR, name: str, *, typed: bool) -> dict[str, float]:
        """Return how well a network predicts the held-out events of a type."""
        types = self.data.types.codes.astype(np.int64) if typed and self.data.types is not None else None
        task = PredictionTask(self.data.rows.astype(np.int64), self.data.offsets, self.trained, types)
        ranks = np.zeros(len(self.data.rows), np.int64)
        later = np.arange(len(ranks)) >= np.repeat(self.data.offsets[:-1] + self.trained, self.data.lengths)
        ranks[later] = rank_next_events(network, self.data.popularity(), task)
        own = ranks[self.held_out(name)]
        return {"ndcg@10": ndcg(own, 10), "hr@10": hit_rate(own, 10)}


def train(data: Interactions, hyperparameters: Hyperparameters, dim: int) -> RecBLR:
    """Train a network on histories; with types if they have any."""
    types = 0 if data.types is None else len(data.types.rules)
    config = ModelConfig(items=len(data.item_ids), dim=dim, event_types=types)
    with tempfile.TemporaryDirectory(prefix="event-types-") as folder:
        run = TrainingRun(data, config, hyperparameters, Path(folder), torch.device("cpu"))
        return Trainer(run).run(lambda _: None).network
