"""Is the new model good enough: both models are asked the events that neither has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle.bundle import read_manifest
from model.network import RecBLR
from model.training.data.interactions import Interactions
from model.training.data.time_split import Timeline, judge
from model.training.publishing.bundle_writer import load_network


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
    seen = None if live is None else read_manifest(live)["training_data"].get("last_timestamp")
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
    new = judge(network, data.item_ids, data.popularity(), timeline, asked)
    if live is None:
        return ModelComparison(compared, new, None)
    network, bundle = load_network(live, device)
    popularity = np.array([0, *(item.popularity for item in bundle.items)], np.int64)
    return ModelComparison(
        compared, new, judge(network, [item.item_id for item in bundle.items], popularity, timeline, asked)
    )
