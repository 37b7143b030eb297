"""Rank events of histories by any scorer, among unseen items.

Every scorer ranks the same items under the same rules, so that networks and plain baselines can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import RecBLR
from model.training.evaluation.item_ranking import items_ranked_before
from model.training.evaluation.next_event_ranking import MAX_CONTEXT_EVENTS, PredictionTask

LIST_LENGTH = 10
_MAX_SCORES = 1 << 25  # at a time
_MAX_TOKENS = 1 << 16


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Histories of some users; every event from `first` on is predicted.

    Attributes:
        rows: rows of the items of each user, oldest first.
        first: index of the first event to predict, of each user.
    """

    rows: list[NDArray[np.int64]]
    first: list[int]

    @property
    def targets(self) -> NDArray[np.int64]:
        """(Q,) rows of the events to predict."""
        return np.concatenate([rows[first:] for rows, first in zip(self.rows, self.first, strict=True)])


class Scorer(Protocol):
    """Network or baseline that ranks items."""

    def scores(self, prefixes: Prefixes) -> Tensor:
        """Return the scores (Q, V + 1) before each event to predict.

        An item that is never shown has -inf.
        """


@dataclass(frozen=True, slots=True)
class PrefixRanks:
    """Ranks of predicted events.

    Attributes:
        ranks: (Q,) 1 is the best; 0 if the item was seen before or is never shown.
        targets: (Q,) rows of the items.
        users: (Q,) index of the user.
        shown: (V + 1,) how often each row was among the ten best.
    """

    ranks: NDArray[np.int64]
    targets: NDArray[np.int64]
    users: NDArray[np.int64]
    shown: NDArray[np.int64]


@torch.no_grad()
def rank_prefixes(scorer: Scorer, task: PredictionTask, items: int) -> PrefixRanks:
    """Rank the events of a task; `items` is V."""
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    shown = np.zeros(items + 1, np.int64)
    for users in _batches(task, items):
        rows = [task.rows[task.offsets[user] : task.offsets[user + 1]] for user in users]
        prefixes = Prefixes(rows, [int(task.first[user]) for user in users])
        scores = scorer.scores(prefixes).float()
        ranks, best = _rank(scores, prefixes)
        shown += np.bincount(best, minlength=items + 1)
        counts = [len(own) - first for own, first in zip(prefixes.rows, prefixes.first, strict=True)]
        found.append((ranks, prefixes.targets, np.repeat(users, counts)))
    ranks, targets, owners = (np.concatenate(parts) for parts in zip(*found, strict=True))
    shown[0] = 0
    return PrefixRanks(ranks, targets, owners, shown)


class NetworkScorer:
    """Scores of a network that knows some of the items.

    Events of unknown items are left out of its histories, as in the service.
    """

    def __init__(self, network: RecBLR, known: NDArray[np.bool_]) -> None:
        """`known` (V + 1,) marks the table's rows that count."""
        self._network = network.eval()
        self._known = known
        self._device = network.item_embedding.weight.device

    def outputs(self, prefixes: Prefixes) -> Tensor:
        """Return the outputs (Q, D) before each event."""
        inputs, before = [], []
        for rows, first in zip(prefixes.rows, prefixes.first, strict=True):
            known = self._known[rows]
            known_before: NDArray[np.int64] = (np.cumsum(known) - known)[first:]
            begin = max(0, int(known_before[0]) - MAX_CONTEXT_EVENTS)
            inputs.append(rows[known][begin : int(known_before[-1])])
            before.append(known_before - begin)
        longest = 1 + max(len(own) for own in inputs)
        padded = np.zeros((len(inputs), longest), np.int64)
        start = int(self._network.config.start_token)
        for line, own in enumerate(inputs):
            padded[line, start : start + len(own)] = own
        outputs, _ = self._network(torch.from_numpy(padded).to(self._device))
        line_of = np.repeat(np.arange(len(before)), [len(own) for own in before])
        position = np.maximum(np.concatenate(before) + start - 1, 0)
        found: Tensor = outputs[torch.from_numpy(line_of), torch.from_numpy(position)]
        return found

    def scores(self, prefixes: Prefixes) -> Tensor:
        """See `Scorer.scores`."""
        scores = self.outputs(prefixes).float() @ self._network.item_embedding.weight.float().T
        return scores.masked_fill(torch.from_numpy(~self._known).to(self._device), -torch.inf)


def _rank(scores: Tensor, prefixes: Prefixes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the targets' ranks (Q,), and the best rows."""
    device = scores.device
    seen = torch.zeros(scores.shape, dtype=torch.bool)
    line = 0
    for rows, first in zip(prefixes.rows, prefixes.first, strict=True):
        for end in range(first, len(rows)):
            seen[line, torch.from_numpy(rows[:end])] = True
            line += 1
    scores = scores.masked_fill(seen.to(device), -torch.inf)
    scores[:, 0] = -torch.inf
    targets = torch.from_numpy(prefixes.targets).to(device)
    ranks = items_ranked_before(scores, targets).sum(1) + 1
    ranks = torch.where(scores.gather(1, targets[:, None])[:, 0] > -torch.inf, ranks, 0)
    best, best_rows = scores.topk(min(LIST_LENGTH, scores.shape[1]))
    return ranks.cpu().numpy(), torch.where(best > -torch.inf, best_rows, 0).cpu().numpy().ravel()


def _batches(task: PredictionTask, items: int) -> Iterator[NDArray[np.int64]]:
    """Yield users, those with histories of similar length together."""
    lengths = np.diff(task.offsets)
    counts = lengths - task.first
    users = np.flatnonzero(counts > 0)
    users = users[np.argsort(lengths[users], kind="stable")]
    begin = 0
    while begin < len(users):
        queries = np.cumsum(counts[users[begin:]]) * (items + 1)
        tokens = np.arange(1, len(users) - begin + 1) * lengths[users[begin:]]
        fits = (queries <= _MAX_SCORES) & (tokens <= _MAX_TOKENS)
        end = begin + max(1, int(np.argmin(fits)) if not fits.all() else len(fits))
        yield users[begin:end]
        begin = end
