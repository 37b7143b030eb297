"""Is the new model good enough: both models are asked the events that neither has seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle.bundle import read_manifest
from model.network import RecBLR
from model.ranking_metrics import hit_rate, ndcg
from model.training.data.interactions import Interactions
from model.training.data.time_split import Timeline
from model.training.evaluation.bundle_loader import load_network
from model.training.evaluation.ranking import Questions, rank_next


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """How the models predict the events that neither has seen. `live` is None where there is no live model."""

    compared: int
    new: dict[str, float]
    live: dict[str, float] | None

    def against(self, margin: float) -> str | None:
        """Why the new model is not good enough, or None if it is."""
        if self.live is None or self.new["ndcg@10"] >= self.live["ndcg@10"] - margin:
            return None
        return f"declined: {self._figures()}, which is more than the margin of {margin:g} lower"

    def in_favour(self, margin: float) -> str:
        """Why it is."""
        if self.live is None:
            return "published: there was no live model to compare with"
        return f"published: {self._figures()}, which is within the margin of {margin:g}"

    def _figures(self) -> str:
        assert self.live is not None  # noqa: S101 - both callers have asked
        return (
            f"on the {self.compared} newest events the new model's NDCG@10 is {self.new['ndcg@10']:.4f} "
            f"and the live one's {self.live['ndcg@10']:.4f}"
        )


def seen_until(live: Path | None) -> float:
    """The time of the newest event that the live model was trained on; -inf where its bundle does not say."""
    seen = None if live is None else read_manifest(live).training_data.get("last_timestamp")
    return float(seen) if isinstance(seen, int | float) and math.isfinite(seen) else -math.inf


def compare(
    network: RecBLR,
    data: Interactions,
    live: Path | None,
    timeline: Timeline,
    asked: NDArray[np.bool_],
    device: torch.device,
) -> ModelComparison:
    """Ask `network`, trained on `data`, and the live model the `asked` events."""
    compared = int(asked.sum())
    if not compared:
        return ModelComparison(0, {}, None if live is None else {})
    new = evaluate_newest(network, data.item_ids, data.popularity(), timeline, asked)
    if live is None:
        return ModelComparison(compared, new, None)
    network, bundle = load_network(live, device)
    popularity = np.array([0, *(item.popularity for item in bundle.items)], np.int64)
    return ModelComparison(
        compared, new, evaluate_newest(network, [item.item_id for item in bundle.items], popularity, timeline, asked)
    )


def evaluate_newest(
    network: RecBLR,
    item_ids: Sequence[str],
    popularity: NDArray[np.int64],
    timeline: Timeline,
    asked: NDArray[np.bool_],
) -> dict[str, float]:
    """How the model predicts the asked events, which must be the newest of their histories.

    item_ids  (V) of the model, that of row r at r - 1; popularity (V + 1,) events of each row.
    Every event counts the same: one of an item that the model does not know is a miss, and a user's very first event
    is asked too.
    """
    row_of = {item_id: row for row, item_id in enumerate(item_ids, start=1)}
    rows = np.array([row_of.get(item_id, 0) for item_id in timeline.item_ids], np.int64)
    asked_of = np.add.reduceat(np.append(asked, False), timeline.offsets[:-1], dtype=np.int64)
    lengths = np.diff(timeline.offsets)
    asked_of[lengths == 0] = 0
    users = np.flatnonzero(asked_of)
    chosen = np.zeros(len(lengths), bool)
    chosen[users] = True
    questions = Questions(
        rows=rows[timeline.items[np.repeat(chosen, lengths)]],
        offsets=np.concatenate([[0], np.cumsum(lengths[users])]),
        first=lengths[users] - asked_of[users],
    )
    ranks = rank_next(network, popularity, questions)
    return {
        "ndcg@10": ndcg(ranks, 10),
        "hr@10": hit_rate(ranks, 10),
        "known_items": float((rows[timeline.items[asked]] > 0).mean()),
    }
