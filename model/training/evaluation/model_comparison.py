"""Compare a candidate with the live model on events new to both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle.bundle import Bundle
from model.bundle.event_types import EventTypes
from model.network import RecBLR
from model.ranking_metrics import discounted_gains, hit_rate, hits, ndcg
from model.training.data.history_sorting import user_blocks
from model.training.data.interactions import Interactions
from model.training.data.time_split import Timeline
from model.training.evaluation.next_event_ranking import PredictionTask, rank_next_events
from model.training.event_types.type_column import TypeColumn


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """A network with what is needed to rank events by item id.

    Attributes:
        network: the network, in evaluation mode.
        item_ids: V ids; row r of the embedding table belongs to item_ids[r - 1].
        popularity: (V + 1,) int64, training events of each row.
        types: the model's event types; None if it has none.
    """

    network: RecBLR
    item_ids: Sequence[str]
    popularity: NDArray[np.int64]
    types: EventTypes | None = None

    @classmethod
    def of_training(cls, network: RecBLR, data: Interactions) -> ComparedModel:
        """Combine a network with the data that it was trained on."""
        return cls(network, data.item_ids, data.popularity(), None if data.types is None else data.types.rules)

    @classmethod
    def of_bundle(cls, network: RecBLR, bundle: Bundle) -> ComparedModel:
        """Combine a network with its bundle."""
        popularity = np.array([0, *(item.popularity for item in bundle.items)], np.int64)
        return cls(network, [item.item_id for item in bundle.items], popularity, bundle.event_types)


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """Metrics of two models on the same events.

    Attributes:
        events: number of events.
        candidate: metrics of the new model; empty without events.
        live: metrics of the live model; None if there is no live model.
    """

    events: int
    candidate: dict[str, float]
    live: dict[str, float] | None

    def accepts(self, margin: float) -> bool:
        """Return whether the candidate is at most `margin` below the live model.

        NDCG@10 is compared.
        """
        return self.live is None or self.candidate["ndcg@10"] >= self.live["ndcg@10"] - margin

    def explain(self, margin: float) -> str:
        """Describe the decision and its reason in one sentence."""
        if self.live is None:
            return "published: there was no live model to compare with"
        accepted = self.accepts(margin)
        return (
            f"{'published' if accepted else 'declined'}: on the {self.events} newest events the new model's NDCG@10 "
            f"is {self.candidate['ndcg@10']:.4f} and the live model's is {self.live['ndcg@10']:.4f}, "
            f"{'within' if accepted else 'lower by more than'} the margin of {margin:g}"
        )


def compare(
    candidate: ComparedModel, live: ComparedModel | None, timeline: Timeline, held_out: NDArray[np.bool_]
) -> ModelComparison:
    """Evaluate both models on the held-out events.

    Args:
        candidate: the new model.
        live: the model that is served, None if there is none.
        timeline: all events.
        held_out: (N,) bool, the events to predict.
    """
    events = int(held_out.sum())
    if not events:
        return ModelComparison(0, {}, None if live is None else {})
    return ModelComparison(
        events,
        evaluate_held_out(candidate, timeline, held_out),
        None if live is None else evaluate_held_out(live, timeline, held_out),
    )


def evaluate_held_out(model: ComparedModel, timeline: Timeline, held_out: NDArray[np.bool_]) -> dict[str, float]:
    """Evaluate how well a model predicts the held-out events.

    Every event counts the same, including a user's very first one; with types an event counts by the weight of its
    type as a target. An item that the model does not know is a miss.

    Returns:
        `ndcg@10`, `hr@10`, and `known_items`, the fraction of the events whose item the model knows.
    """
    row_of = {item_id: row for row, item_id in enumerate(model.item_ids, start=1)}
    rows = np.array([row_of.get(item_id, 0) for item_id in timeline.item_ids], np.int64)
    positions = np.flatnonzero(held_out)
    users, first_of_user = np.unique(
        np.searchsorted(timeline.offsets, positions, side="right") - 1, return_index=True
    )
    first = positions[first_of_user] - timeline.offsets[users]
    lengths = np.diff(timeline.offsets)
    is_evaluated = np.zeros(len(lengths), bool)
    is_evaluated[users] = True
    events = np.flatnonzero(np.repeat(is_evaluated, lengths))
    task = PredictionTask(
        rows=rows[timeline.items[events]],
        offsets=np.concatenate([[0], np.cumsum(lengths[users])]),
        first=first,
        types=_codes_under(model, timeline.types, events),
    )
    # Every event from a history's first held-out one on gets a rank; those between that are not held out are dropped.
    is_ranked = events >= np.repeat(timeline.offsets[users] + first, lengths[users])
    ranks = rank_next_events(model.network, model.popularity, task)[held_out[events[is_ranked]]]
    return {
        **_weighted_metrics(ranks, None if timeline.types is None else timeline.types.take(held_out)),
        "known_items": float((rows[timeline.items[held_out]] > 0).mean()),
    }


def evaluate_last_events(model: ComparedModel, data: Interactions) -> dict[str, float]:
    """Evaluate how well a model predicts each user's last event.

    An item that the model does not know is a miss. Histories of less than two events, and last events that are not
    positive, are skipped.

    Returns:
        `ndcg@10` and `hr@10`.
    """
    row_of = {item_id: row for row, item_id in enumerate(model.item_ids, start=1)}
    rows = np.array([0, *(row_of.get(item_id, 0) for item_id in data.item_ids)], np.int64)
    ranks = []
    for users, events in user_blocks(data.offsets):
        lengths = np.diff(data.offsets[users.start : users.stop + 1])
        task = PredictionTask(
            rows=rows[data.rows[events]],
            offsets=data.offsets[users.start : users.stop + 1] - events.start,
            first=np.where(lengths >= 2, lengths - 1, lengths),
            types=_codes_under(model, data.types, events),
        )
        ranks.append(rank_next_events(model.network, model.popularity, task))
    found = np.concatenate(ranks)
    if data.types is not None:
        last = data.offsets[1:][data.lengths >= 2] - 1
        found = found[data.types.positive[data.types.codes[last]]]
    return {"ndcg@10": ndcg(found, 10), "hr@10": hit_rate(found, 10)}


def _codes_under(model: ComparedModel, types: TypeColumn | None, events: Any) -> NDArray[np.int64] | None:  # noqa: ANN401
    """Return the model's numbers of the types of the selected events."""
    return None if types is None else types.codes_under(model.types)[types.codes[events]]


def _weighted_metrics(ranks: NDArray[np.int64], types: TypeColumn | None) -> dict[str, float]:
    """Return NDCG@10 and HR@10, weighted by the events' types."""
    if types is None:
        return {"ndcg@10": ndcg(ranks, 10), "hr@10": hit_rate(ranks, 10)}
    weights = np.maximum(types.weights, 0.0)[types.codes]
    total = max(float(weights.sum()), 1e-9)
    gains = {"ndcg@10": discounted_gains(ranks, 10), "hr@10": hits(ranks, 10)}
    return {name: float(gain @ weights / total) for name, gain in gains.items()}
