"""The rank of events that came next, each given the user's history up to it, with all items of the model ranked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import RecBLR

# The rank of an item that the model does not know: it is not among its answers at any length.
MISS = 2**62
# Known events that a model sees before the first event asked of it, at most: what the service keeps by default.
CONTEXT = 1000
_TOKENS = 1 << 17  # in a forward pass
_SCORES = 1 << 24  # at a time


@dataclass(frozen=True, slots=True)
class Questions:
    """Histories of which the newest events are to be predicted, each from all before it.

    rows     (N,) the model's row of every event, 0 where it does not know the item
    offsets  (U + 1,) user u's events are rows[offsets[u]:offsets[u + 1]], oldest first
    first    (U,) index within each history of the first event to predict; those after it are predicted too
    """

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    first: NDArray[np.int64]


@dataclass(slots=True)
class _Line:
    """One user's part of a batch. `at` inputs stand before each target; `place` is where its ranks go."""

    inputs: NDArray[np.int64]
    at: NDArray[np.int64]
    targets: NDArray[np.int64]
    place: slice


@torch.no_grad()
def rank_next(network: RecBLR, popularity: NDArray[np.int64], questions: Questions) -> NDArray[np.int64]:
    """Rank (Q,) of every event asked, in order of users and events; 1 is the best, `MISS` for an unknown item.

    Events of unknown items are left out of the histories, as in the service. Before the first known event a model
    without a start token answers with `popularity` (V + 1,), as the service does. Items that tie rank by row.
    """
    was_training = network.training
    network.eval()
    counts = np.diff(questions.offsets) - questions.first
    ranks = np.full(int(counts.sum()), MISS, np.int64)
    by_popularity = np.empty(len(popularity), np.int64)
    by_popularity[1 + np.argsort(-popularity[1:], kind="stable")] = np.arange(1, len(popularity))
    ends = np.cumsum(counts)
    lines = [
        _line(questions, user, slice(int(ends[user] - counts[user]), int(ends[user]))) for user in range(len(counts))
    ]
    for batch in _batches(lines):
        _rank_batch(network, by_popularity, batch, ranks)
    network.train(was_training)
    return ranks


def _line(questions: Questions, user: int, place: slice) -> _Line:
    rows = questions.rows[questions.offsets[user] : questions.offsets[user + 1]]
    first = int(questions.first[user])
    known = rows > 0
    before: NDArray[np.int64] = np.cumsum(known, dtype=np.int64) - known
    if first == len(rows):
        return _Line(rows[:0], before[:0], rows[:0], place)
    begin = max(0, int(before[first]) - CONTEXT)
    return _Line(rows[known][begin : before[-1]], before[first:] - begin, rows[first:], place)


def _batches(lines: list[_Line]) -> Iterator[list[_Line]]:
    """Lines of similar length together, within the token budget."""
    batch: list[_Line] = []
    for line in sorted((line for line in lines if len(line.targets)), key=lambda line: len(line.inputs)):
        if batch and (len(batch) + 1) * (len(line.inputs) + 1) > _TOKENS:
            yield batch
            batch = []
        batch.append(line)
    if batch:
        yield batch


def _rank_batch(
    network: RecBLR, by_popularity: NDArray[np.int64], batch: list[_Line], ranks: NDArray[np.int64]
) -> None:
    device = network.item_embedding.weight.device
    token = int(network.config.start_token)
    padded = np.zeros((len(batch), max(1, token + max(len(line.inputs) for line in batch))), np.int64)
    for n, line in enumerate(batch):
        padded[n, token : token + len(line.inputs)] = line.inputs
    outputs, _ = network(torch.from_numpy(padded).to(device))
    targets = np.concatenate([line.targets for line in batch])
    at = np.concatenate([line.at for line in batch]) + token - 1
    lines = np.repeat(np.arange(len(batch)), [len(line.targets) for line in batch])
    found = np.full(len(targets), MISS, np.int64)
    known = targets > 0
    found[known] = by_popularity[targets[known]]
    asked = np.flatnonzero(known & (at >= 0))
    for part in np.array_split(asked, max(1, -(-len(asked) * len(by_popularity) // _SCORES))):
        index = (torch.from_numpy(lines[part]).to(device), torch.from_numpy(at[part]).to(device))
        found[part] = _ranks(network, outputs[index], torch.from_numpy(targets[part]).to(device))
    for line, own in zip(batch, np.split(found, np.cumsum([len(line.targets) for line in batch])[:-1]), strict=True):
        ranks[line.place] = own


def _ranks(network: RecBLR, outputs: Tensor, targets: Tensor) -> NDArray[np.int64]:
    scores = outputs.float() @ network.item_embedding.weight.float().T
    scores[:, 0] = -torch.inf
    wanted = scores.gather(1, targets[:, None])
    row = torch.arange(scores.shape[1], device=scores.device)
    # Said the other way round, so that a network that has diverged (NaN is below nothing) ranks last, not first.
    before = ~((scores < wanted) | ((scores == wanted) & (row >= targets[:, None])))
    result: NDArray[np.int64] = (before.sum(1) + 1).cpu().numpy()
    return result
