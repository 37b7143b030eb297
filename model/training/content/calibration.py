"""Calibrate the scores of new items against those of trained ones.

Parts of the trained items play new ones in turn: their embeddings are replaced by what was predicted for them from
the other parts. Scale and shift of the predictions are chosen on events that the network was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import RecBLR
from model.training.data.interactions import Interactions
from model.training.evaluation.prefix_ranking import LIST_LENGTH, NetworkScorer, Prefixes

_SCALES = tuple(0.7 * 1.15**step for step in range(12))  # 0.7 to 3.3
_SHIFTS = tuple(0.25 * step for step in range(-12, 13))
# How much NDCG@10 on events of trained items may fall while a part of the items is new.
MAX_LOSS = 0.005
_MAX_EVENTS = 5_000
_MAX_SCORES = 1 << 30  # over all events
_BLOCK_SCORES = 1 << 23
_CANDIDATES = 64  # best trained items of an event, of which ten remain without any part


@dataclass(frozen=True, slots=True)
class Calibration:
    """Correction of predicted embeddings.

    Attributes:
        scale: factor of a prediction.
        shift: what is added to every score of a new item, in the mean over users.
    """

    scale: float = 1.0
    shift: float = 0.0


class CalibrationEvents(NamedTuple):
    """Events to calibrate on, of Q users.

    Attributes:
        outputs: (Q, D) output of the network before the event.
        targets: (Q,) rows of the items.
        seen: rows of the user's earlier events, of each user.
    """

    outputs: Tensor
    targets: Tensor
    seen: list[NDArray[np.int64]]

    @property
    def direction(self) -> Tensor:
        """(D,) vector whose score is 1 in the mean over users."""
        mean = self.outputs.double().mean(0)
        return mean / mean.square().sum().clamp(min=1e-12)


@torch.no_grad()
def calibration_events(network: RecBLR, data: Interactions) -> CalibrationEvents:
    """Return each user's last event but one, which validates the network.

    Some users, evenly spaced, are taken.
    """
    validation, items = data.without_last(1), len(data.item_ids)
    users = np.flatnonzero(validation.lengths >= 2)
    count = min(len(users), _MAX_EVENTS, max(1, _MAX_SCORES // (items + 1)))
    users = users[np.linspace(0, len(users) - 1, count).astype(np.int64)]
    scorer = NetworkScorer(network, np.ones(items + 1, bool))
    order = np.argsort(validation.lengths[users], kind="stable")
    outputs, rows = [], []
    for block in np.array_split(users[order], max(1, len(users) // 512)):
        own = [validation.rows[validation.offsets[u] : validation.offsets[u + 1]].astype(np.int64) for u in block]
        outputs.append(scorer.outputs(Prefixes(own, [len(each) - 1 for each in own])))
        rows += own
    targets = torch.tensor([int(each[-1]) for each in rows], device=outputs[0].device)
    return CalibrationEvents(torch.cat(outputs).float(), targets, [each[:-1] for each in rows])


@torch.no_grad()
def calibrate(
    events: CalibrationEvents, table: Tensor, predicted: Tensor, parts: NDArray[np.int64]
) -> tuple[Calibration, dict[str, float]]:
    """Choose scale and shift by NDCG@10 on events of new items.

    On the other events NDCG@10 may fall by `MAX_LOSS`, as a fraction.

    Args:
        events: events to calibrate on.
        table: (V, D) trained embeddings.
        predicted: (V, D) embeddings that were predicted from the other parts.
        parts: (V,) part of each item, from 0; -1 for an item that is never new.

    Returns:
        The calibration, and the NDCG@10 that it measured.
    """
    lists = _BestLists.of(events, table, predicted, torch.from_numpy(parts).to(table.device))
    base = lists.other(None)
    lowest = base * (1.0 - MAX_LOSS)
    candidates = [Calibration(scale, shift) for scale in _SCALES for shift in _SHIFTS]
    measured = [(candidate, lists.new_items(candidate), lists.other(candidate)) for candidate in candidates]
    # If all cost too much, the one that costs least.
    best, new, other = max(measured, key=lambda each: (min(each[2], lowest), each[1]))
    return best, {"new": new, "other": other, "id_only": base}


class _BestLists(NamedTuple):
    """Best scores while each of P parts of the items is new.

    The ranks up to ten depend on nothing else.

    Attributes:
        trained: (Q, P, 10) best scores of the trained items.
        new: (Q, P, 10) best unscaled scores of the new items.
        along: (Q,) score of the direction.
        target: (Q, 2) score of the target as a trained item, and unscaled as a new one.
        ahead: (Q, P) number of trained items before the target as a trained one.
        ahead_new: (Q,) number of new items before the target as a new one.
        part: (Q,) part of the target; -1 if it is never new.
        is_unseen: (Q,) whether the target was not seen before.
    """

    trained: Tensor
    new: Tensor
    along: Tensor
    target: Tensor
    ahead: Tensor
    ahead_new: Tensor
    part: Tensor
    is_unseen: Tensor

    @classmethod
    def of(cls, events: CalibrationEvents, table: Tensor, predicted: Tensor, parts: Tensor) -> _BestLists:
        """Search the lists of all events."""
        rows = max(1, _BLOCK_SCORES // len(table))
        found = []
        for begin in range(0, len(events.targets), rows):
            block = slice(begin, begin + rows)
            outputs, targets = events.outputs[block], events.targets[block] - 1
            seen = torch.zeros(len(targets), len(table), dtype=torch.bool)
            for line, own in enumerate(events.seen[block]):
                seen[line, torch.from_numpy(own - 1)] = True
            seen = seen.to(table.device)
            is_unseen = ~seen.gather(1, targets[:, None])[:, 0]
            trained, new = (outputs @ vectors.float().T for vectors in (table, predicted))
            target = torch.cat([each.gather(1, targets[:, None]) for each in (trained, new)], 1)
            along = (outputs.double() @ events.direction).float()
            trained, new = (each.masked_fill_(seen, -torch.inf) for each in (trained, new))
            lists = _lists_by_part(trained, new, parts)
            ahead, ahead_new = _ahead_by_part(trained, new, target, parts, parts[targets])
            found.append((*lists, along, target, ahead, ahead_new, parts[targets], is_unseen))
        return cls(*(torch.cat(column) for column in zip(*found, strict=True)))

    def other(self, calibration: Calibration | None) -> float:
        """Return NDCG@10 on trained targets; None: without new items."""
        ahead = self.ahead
        if calibration is not None:
            new = calibration.scale * self.new + calibration.shift * self.along[:, None, None]
            ahead = ahead + (new > self.target[:, :1, None]).sum(2)
        is_trained = self.part[:, None] != torch.arange(ahead.shape[1], device=ahead.device)
        return _gains(ahead, self.is_unseen[:, None])[is_trained].mean().item()

    def new_items(self, calibration: Calibration) -> float:
        """Return NDCG@10 on new targets."""
        was_new = self.part >= 0
        target = (calibration.scale * self.target[:, 1] + calibration.shift * self.along)[was_new]
        trained = self.trained[was_new, self.part[was_new]]
        ahead = self.ahead_new[was_new] + (trained > target[:, None]).sum(1)
        return _gains(ahead, self.is_unseen[was_new]).mean().item()


def _lists_by_part(trained: Tensor, new: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best trained and new scores, (B, P, 10)."""
    best, rows = trained.topk(min(_CANDIDATES, trained.shape[1]))
    of_part = parts[rows]
    lists: list[list[Tensor]] = [[], []]
    for part in range(int(parts.max()) + 1):
        own = torch.nonzero(parts == part)[:, 0]
        lists[0].append(_top(best.masked_fill(of_part == part, -torch.inf)))
        lists[1].append(_top(new[:, own]))
    return torch.stack(lists[0], 1), torch.stack(lists[1], 1)


def _top(scores: Tensor) -> Tensor:
    """Return the ten best scores of each row, filled up with -inf."""
    best = scores.topk(min(LIST_LENGTH, scores.shape[1])).values
    return torch.nn.functional.pad(best, (0, LIST_LENGTH - best.shape[1]), value=-torch.inf)


def _ahead_by_part(
    trained: Tensor, new: Tensor, target: Tensor, parts: Tensor, part: Tensor
) -> tuple[Tensor, Tensor]:
    """Count the items before each target: (B, P) trained, (B,) new."""
    count = int(parts.max()) + 1
    member = torch.nn.functional.one_hot(parts.clamp(min=0), count).float() * (parts >= 0)[:, None]
    before = (trained > target[:, :1]).float()
    ahead = before.sum(1, keepdim=True) - before @ member
    same = parts[None, :] == part[:, None]
    return ahead.round(), ((new > target[:, 1:]) & same).sum(1)


def _gains(ahead: Tensor, counts: Tensor) -> Tensor:
    return torch.where((ahead < LIST_LENGTH) & counts, 1.0 / torch.log2(2.0 + ahead), 0.0)
