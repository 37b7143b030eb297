"""Soft targets: the items that teachers expect before each event.

A student learns them besides the event that followed (Hinton et al. 2015). The whole distribution would take one
number per event and item. Only the likeliest items are kept: on MovieLens-1M 64 of 3,416 items measured as well as
all of them (decision 0074).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ingest.errors import DataError
from model.network import RecBLR
from model.ops.softmax_loss.full import SoftLabels
from model.training.data.interactions import Interactions

MAX_ITEMS = 64
# Share of the teachers in what is learnt at each position; the rest is the event that followed.
DISTILLATION_WEIGHT = 0.9
_BYTES_PER_ITEM = 6
_MAX_TOKENS = 1 << 17  # in one forward pass
_MAX_SCORES = 1 << 26  # at a time


@dataclass(frozen=True, slots=True)
class SoftTargets:
    """Soft targets of every event of a data set of E events.

    Attributes:
        items: (E, K) int32, rows of the embedding table.
        shares: (E, K) bfloat16, their probabilities; a row sums up to at most `DISTILLATION_WEIGHT`.
    """

    items: Tensor
    shares: Tensor

    def of(self, events: Tensor) -> SoftLabels:
        """Return the soft targets of these events (N,)."""
        return SoftLabels(self.items[events], self.shares[events])


@torch.no_grad()
def compute_soft_targets(teachers: Sequence[RecBLR], data: Interactions, temperature: float = 1.0) -> SoftTargets:
    """Average the teachers' distributions and keep the likeliest items.

    Args:
        teachers: trained networks; they are switched to evaluation mode.
        data: the histories that the student trains on.
        temperature: divisor of the teachers' scores before the softmax.

    Raises:
        DataError: the device has too little memory: 6 bytes per event and kept item are needed.
    """
    device = teachers[0].item_embedding.weight.device
    kept = min(MAX_ITEMS, len(data.item_ids))
    _check_memory(len(data.rows) * kept * _BYTES_PER_ITEM, device)
    items = torch.zeros(len(data.rows), kept, dtype=torch.int32, device=device)
    shares = torch.zeros(len(data.rows), kept, dtype=torch.bfloat16, device=device)
    for teacher in teachers:
        teacher.eval()
    lengths = data.lengths
    users = np.argsort(lengths, kind="stable")[np.count_nonzero(lengths == 0) :]
    while len(users):
        # Histories of similar length share a forward pass, the longest ones first.
        count = max(1, min(len(users), _MAX_TOKENS // int(lengths[users[-1]])))
        users, batch = users[:-count], users[-count:]
        inputs, types, targets = _padded(data, batch, teachers[0].config.start_token)
        is_target = targets >= 0
        events = targets[is_target].to(device)
        given = {} if data.types is None else {"types": types.to(device)}
        outputs = [teacher(inputs.to(device), **given)[0][is_target.to(device)] for teacher in teachers]
        for part in torch.split(torch.arange(len(events), device=device), max(1, _MAX_SCORES // len(data.item_ids))):
            probabilities = _mean_probabilities(teachers, [output[part] / temperature for output in outputs])
            top, rows = probabilities.topk(kept, dim=1)
            items[events[part]] = rows.int()
            shares[events[part]] = (DISTILLATION_WEIGHT * top / top.sum(1, keepdim=True)).bfloat16()
    return SoftTargets(items, shares)


def _mean_probabilities(teachers: Sequence[RecBLR], outputs: Sequence[Tensor]) -> Tensor:
    """Average the teachers' softmax over their scores.

    Args:
        teachers: the networks.
        outputs: (N, D_t) output of each teacher t.

    Returns:
        (N, V + 1) probabilities; row 0 of the table is no item and gets 0.
    """
    total = torch.zeros((), device=outputs[0].device)
    for teacher, output in zip(teachers, outputs, strict=True):
        scores = output.float() @ teacher.item_embedding.weight.float().T
        scores[:, 0] = -torch.inf
        total = total + scores.softmax(dim=1)
    return total / len(teachers)


def _padded(data: Interactions, users: NDArray[np.int64], start_token: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return padded inputs, their types, and the event after each.

    All are (B, T). The event is -1 if there is none.
    """
    longest = int(data.lengths[users].max())
    inputs, types = np.zeros((2, len(users), longest), np.int64)
    events = np.full((len(users), longest), -1, np.int64)
    for line, user in enumerate(users):
        begin, end = int(data.offsets[user]), int(data.offsets[user + 1])
        shift = 1 if start_token else 0
        inputs[line, shift : end - begin] = data.rows[begin : end - shift]
        if data.types is not None:
            types[line, shift : end - begin] = data.types.codes[begin : end - shift]
        events[line, : end - begin + shift - 1] = np.arange(begin + 1 - shift, end)
    return torch.from_numpy(inputs), torch.from_numpy(types), torch.from_numpy(events)


def _check_memory(size_bytes: int, device: torch.device) -> None:
    if device.type == "cuda" and size_bytes > torch.cuda.mem_get_info(device)[0] // 2:
        raise DataError(
            f"the soft targets of the teachers would take {size_bytes / 2**30:.0f} GiB of the device's memory; "
            "train with --teachers 0"
        )
