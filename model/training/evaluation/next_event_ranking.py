"""Rank each event to predict among all items of the model.

The model sees the user's history before the event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.network import RecBLR
from model.training.evaluation.item_ranking import item_scores, items_ranked_before

# Rank of an item that the model does not know: no answer contains it (see model.ranking_metrics).
UNKNOWN_ITEM_RANK = 0
# Known events before the first event to predict that the model sees: as many as the service keeps by default.
MAX_CONTEXT_EVENTS = 1000
_MAX_TOKENS = 1 << 17  # in one forward pass
_MAX_SCORES = 1 << 24  # at a time


@dataclass(frozen=True, slots=True)
class PredictionTask:
    """Histories whose newest events are to be predicted.

    Each event is predicted from all events before it.

    Attributes:
        rows: (N,) int64, the model's row of every event; 0 if the model does not know the item.
        offsets: (U + 1,) int64; user u's events are rows[offsets[u]:offsets[u + 1]], oldest first.
        first: (U,) int64, index within each history of the first event to predict.
        types: (N,) int64, the model's number of every event's type, -1 if the model does not replay it; None: all
            events have type 0.
    """

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    first: NDArray[np.int64]
    types: NDArray[np.int64] | None = None


@dataclass(slots=True)
class _UserTask:
    """Inputs and targets of one user.

    Attributes:
        inputs: (T,) rows of the known events that the model sees.
        types: (T,) their types.
        inputs_before: (Q,) number of inputs before each target.
        targets: (Q,) rows of the events to predict; 0 if unknown.
        output: position of the user's ranks in the result.
    """

    inputs: NDArray[np.int64]
    types: NDArray[np.int64]
    inputs_before: NDArray[np.int64]
    targets: NDArray[np.int64]
    output: slice


@torch.no_grad()
def rank_next_events(network: RecBLR, popularity: NDArray[np.int64], task: PredictionTask) -> NDArray[np.int64]:
    """Rank every event to predict.

    As in the service, events of unknown items are left out of the histories. A model without a start token answers
    with the most popular items before the first known event, and items that tie rank by row.

    Args:
        network: the network to evaluate.
        popularity: (V + 1,) int64, training events of each row.
        task: the events to predict.

    Returns:
        (Q,) ranks in order of users and events; 1 is the best, `UNKNOWN_ITEM_RANK` if the item is unknown.
    """
    was_training = network.training
    network.eval()
    counts = np.diff(task.offsets) - task.first
    ranks = np.full(int(counts.sum()), UNKNOWN_ITEM_RANK, np.int64)
    popularity_rank = np.empty(len(popularity), np.int64)
    popularity_rank[1 + np.argsort(-popularity[1:], kind="stable")] = np.arange(1, len(popularity))
    ends = np.cumsum(counts)
    tasks = [
        _user_task(task, user, slice(int(ends[user] - counts[user]), int(ends[user]))) for user in range(len(counts))
    ]
    for batch in _batches(tasks):
        _rank_batch(network, popularity_rank, batch, ranks)
    network.train(was_training)
    return ranks


def _user_task(task: PredictionTask, user: int, output: slice) -> _UserTask:
    own = slice(task.offsets[user], task.offsets[user + 1])
    rows, first = task.rows[own], int(task.first[user])
    types = np.zeros_like(rows) if task.types is None else task.types[own]
    known = (rows > 0) & (types >= 0)
    known_before: NDArray[np.int64] = np.cumsum(known, dtype=np.int64) - known
    if first == len(rows):
        return _UserTask(rows[:0], types[:0], known_before[:0], rows[:0], output)
    begin = max(0, int(known_before[first]) - MAX_CONTEXT_EVENTS)
    seen = slice(begin, int(known_before[-1]))
    return _UserTask(rows[known][seen], types[known][seen], known_before[first:] - begin, rows[first:], output)


def _batches(tasks: list[_UserTask]) -> Iterator[list[_UserTask]]:
    """Yield users with histories of similar length together, within `_MAX_TOKENS`."""
    batch: list[_UserTask] = []
    for task in sorted((task for task in tasks if len(task.targets)), key=lambda task: len(task.inputs)):
        if batch and (len(batch) + 1) * (len(task.inputs) + 1) > _MAX_TOKENS:
            yield batch
            batch = []
        batch.append(task)
    if batch:
        yield batch


def _rank_batch(
    network: RecBLR, popularity_rank: NDArray[np.int64], batch: list[_UserTask], ranks: NDArray[np.int64]
) -> None:
    """Write the ranks of a batch of users into `ranks`."""
    device = network.item_embedding.weight.device
    start = int(network.config.start_token)
    inputs, types = np.zeros((2, len(batch), max(1, start + max(len(task.inputs) for task in batch))), np.int64)
    for line, task in enumerate(batch):
        inputs[line, start : start + len(task.inputs)] = task.inputs
        types[line, start : start + len(task.inputs)] = task.types
    given = {"types": torch.from_numpy(types).to(device)} if types.any() else {}
    outputs, _ = network(torch.from_numpy(inputs).to(device), **given)
    targets = np.concatenate([task.targets for task in batch])
    position = np.concatenate([task.inputs_before for task in batch]) + start - 1
    line_of = np.repeat(np.arange(len(batch)), [len(task.targets) for task in batch])
    batch_ranks = np.full(len(targets), UNKNOWN_ITEM_RANK, np.int64)
    known = targets > 0
    batch_ranks[known] = popularity_rank[targets[known]]
    by_network = np.flatnonzero(known & (position >= 0))
    parts = max(1, -(-len(by_network) * len(popularity_rank) // _MAX_SCORES))
    for part in np.array_split(by_network, parts):
        index = (torch.from_numpy(line_of[part]).to(device), torch.from_numpy(position[part]).to(device))
        ranked_before = items_ranked_before(
            item_scores(network, outputs[index]), torch.from_numpy(targets[part]).to(device)
        )
        batch_ranks[part] = (ranked_before.sum(1) + 1).cpu().numpy()
    ends = np.cumsum([len(task.targets) for task in batch])
    for task, user_ranks in zip(batch, np.split(batch_ranks, ends[:-1]), strict=True):
        ranks[task.output] = user_ranks
