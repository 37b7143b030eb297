"""Calibrate the scores of new items against those of trained ones.

Parts of the trained items play new ones in turn: their embeddings are replaced by what was predicted for them from
the other parts. Scale and shift of the predictions are chosen on events that the network was not trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import RecBLR
from model.training.data.interactions import Interactions
from model.training.evaluation.prefix_ranking import LIST_LENGTH, NetworkScorer, Prefixes

_SCALES = tuple(0.5 * 1.1**step for step in range(19))  # 0.5 to 2.8
_SHIFTS = tuple(0.25 * step for step in range(-12, 13))
# How much NDCG@10 on events of trained items may fall while a part of the items is new.
MAX_LOSS = 0.005
_MAX_EVENTS = 5_000
_MAX_SCORES = 1 << 26


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
    lists = [_BestLists.of(events, table, predicted, part) for part in _masks(parts, table.device)]
    base = _mean([each.other_gains(None) for each in lists])
    best, figures = Calibration(), {"new": -1.0, "other": 0.0, "id_only": base}
    for scale in _SCALES:
        for shift in _SHIFTS:
            candidate = Calibration(scale, shift)
            other = _mean([each.other_gains(candidate) for each in lists])
            new = _mean([each.new_gains(candidate) for each in lists])
            if new > figures["new"] and other >= base * (1.0 - MAX_LOSS):
                best, figures = candidate, {"new": new, "other": other, "id_only": base}
    return best, figures


class _BestLists(NamedTuple):
    """Best scores while one part of the items is new.

    The ranks up to ten depend on nothing else.

    Attributes:
        trained: (Q, 10) best scores of the trained items, in any order.
        new: (Q, 10) best unscaled scores of the new items.
        along: (Q,) score of the direction.
        target: (Q,) score of the target, unscaled if it is new.
        ahead: (Q,) number of items of the target's own kind that rank before it.
        is_new: (Q,) whether the target is new.
        is_counted: (Q,) whether the target was not seen before.
    """

    trained: Tensor
    new: Tensor
    along: Tensor
    target: Tensor
    ahead: Tensor
    is_new: Tensor
    is_counted: Tensor

    @classmethod
    def of(cls, events: CalibrationEvents, table: Tensor, predicted: Tensor, is_new: Tensor) -> _BestLists:
        """Search the lists; `is_new` (V,) marks the items that play new ones."""
        mixed = torch.where(is_new[:, None], predicted, table).float()
        found: list[list[Tensor]] = []
        rows = max(1, _MAX_SCORES // len(mixed))
        for begin in range(0, len(events.targets), rows):
            block = slice(begin, begin + rows)
            scores = events.outputs[block] @ mixed.T
            targets = events.targets[block] - 1
            counted = torch.ones(len(targets), dtype=torch.bool)
            own = scores.gather(1, targets[:, None])
            for line, seen in enumerate(events.seen[block]):
                scores[line, torch.from_numpy(seen - 1)] = -torch.inf
                counted[line] = int(targets[line]) + 1 not in seen
            kind = is_new[targets]
            trained, new = scores.masked_fill(is_new, -torch.inf), scores.masked_fill(~is_new, -torch.inf)
            ahead = (torch.where(kind[:, None], new, trained) > own).sum(1)
            lists = [part.topk(min(LIST_LENGTH, len(mixed))).values for part in (trained, new)]
            along = (events.outputs[block].double() @ events.direction).float()
            found.append([*lists, along, own[:, 0], ahead, kind, counted.to(kind.device)])
        return cls(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def other_gains(self, calibration: Calibration | None) -> Tensor:
        """Return the gains on trained targets; None: without new items."""
        ahead = self.ahead
        if calibration is not None:
            new = calibration.scale * self.new + calibration.shift * self.along[:, None]
            ahead = ahead + (new > self.target[:, None]).sum(1)
        return self._gains(ahead, ~self.is_new)

    def new_gains(self, calibration: Calibration) -> Tensor:
        """Return the gains on new targets."""
        target = calibration.scale * self.target + calibration.shift * self.along
        return self._gains(self.ahead + (self.trained > target[:, None]).sum(1), self.is_new)

    def _gains(self, ahead: Tensor, chosen: Tensor) -> Tensor:
        gains = torch.where((ahead < LIST_LENGTH) & self.is_counted, 1.0 / torch.log2(2.0 + ahead), 0.0)
        return gains[chosen]


def _masks(parts: NDArray[np.int64], device: torch.device) -> Iterator[Tensor]:
    for part in range(int(parts.max()) + 1):
        yield torch.from_numpy(parts == part).to(device)


def _mean(gains: list[Tensor]) -> float:
    found = torch.cat(gains)
    return float(found.mean()) if len(found) else 0.0
