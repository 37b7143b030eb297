"""What teachers expect to come next, event by event, for a student to learn besides what came.

Keeping the whole distribution would take a number for each event and item. The TOP most likely items hold what
matters: learning from 64 of 3,416 items measured as well as learning from all (decision 0074).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import RecBLR
from model.ops.softmax.full import SoftLabels
from model.training.data.interactions import Interactions
from model.training.errors import DataError

TOP = 64
# How much of each position's distribution is the teachers'; the rest is what came.
TAUGHT = 0.9
_TOKENS = 1 << 17  # in a forward pass
_SCORES = 1 << 26  # at a time


@dataclass(frozen=True, slots=True)
class SoftTargets:
    """items (E, K) int32, shares (E, K) bfloat16: of every event of the data, as `SoftLabels` has them."""

    items: Tensor
    shares: Tensor

    def of(self, events: Tensor) -> SoftLabels:
        """What is to be predicted at these events (N,)."""
        return SoftLabels(self.items[events], self.shares[events])


@torch.no_grad()
def prepare_soft_targets(teachers: Sequence[RecBLR], data: Interactions, temperature: float = 1.0) -> SoftTargets:
    """The mean of the teachers' distributions before each event, cut to its TOP items; they are set to evaluation.

    A distribution is the softmax of a teacher's scores divided by `temperature`.

    Raises `DataError` where the device has no room for it: 6 bytes an event and item kept.
    """
    device = teachers[0].item_embedding.weight.device
    kept = min(TOP, len(data.item_ids))
    _check_room(len(data.rows) * kept * 6, device)
    items = torch.zeros(len(data.rows), kept, dtype=torch.int32, device=device)
    shares = torch.zeros(len(data.rows), kept, dtype=torch.bfloat16, device=device)
    for teacher in teachers:
        teacher.eval()
    lengths = data.lengths
    users = np.argsort(lengths, kind="stable")[np.count_nonzero(lengths == 0) :]
    while len(users):
        # Histories of similar length share a pass, the longest ones first.
        count = max(1, min(len(users), _TOKENS // int(lengths[users[-1]])))
        users, group = users[:-count], users[-count:]
        inputs, events = _padded(data, group, teachers[0].config.start_token)
        valid = events >= 0
        place = events[valid].to(device)
        outputs = [teacher(inputs.to(device))[0][valid.to(device)] for teacher in teachers]
        for part in torch.split(torch.arange(len(place), device=device), max(1, _SCORES // len(data.item_ids))):
            expected = _expected(teachers, [output[part] / temperature for output in outputs])
            top, likely = expected.topk(kept, dim=1)
            items[place[part]] = likely.int()
            shares[place[part]] = (TAUGHT * top / top.sum(1, keepdim=True)).bfloat16()
    return SoftTargets(items, shares)


def _expected(teachers: Sequence[RecBLR], outputs: Sequence[Tensor]) -> Tensor:
    """The mean of their probabilities (N, V + 1); that of row 0, which is no item, is 0."""
    total = torch.zeros((), device=outputs[0].device)
    for teacher, output in zip(teachers, outputs, strict=True):
        scores = output.float() @ teacher.item_embedding.weight.float().T
        scores[:, 0] = -torch.inf
        total = total + scores.softmax(dim=1)
    return total / len(teachers)


def _padded(data: Interactions, users: NDArray[np.int64], start_token: bool) -> tuple[Tensor, Tensor]:
    """inputs (B, T) of these histories, padded on the right, and events (B, T), each input's target, -1 for none."""
    longest = int(data.lengths[users].max())
    inputs = np.zeros((len(users), longest), np.int64)
    events = np.full((len(users), longest), -1, np.int64)
    for line, user in enumerate(users):
        begin, end = int(data.offsets[user]), int(data.offsets[user + 1])
        shift = 1 if start_token else 0
        inputs[line, shift : end - begin] = data.rows[begin : end - shift]
        events[line, : end - begin + shift - 1] = np.arange(begin + 1 - shift, end)
    return torch.from_numpy(inputs), torch.from_numpy(events)


def _check_room(size: int, device: torch.device) -> None:
    if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] // 2:
        raise DataError(
            f"what the teachers expect would take {size / 2**30:.0f} GiB of the device's memory; "
            "train with --teachers 0"
        )
