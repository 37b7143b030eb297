"""Leave-one-out evaluation with all items ranked: HR, NDCG and MRR at 10 and 20 (design section 7).

Two columns: seen items kept (the paper's protocol) and seen items masked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import RecBLR
from model.ranking_metrics import hit_rate, mrr, ndcg
from model.training.data.interactions import Interactions
from model.training.errors import DataError

CUTOFFS = (10, 20)
# Tokens in one forward pass: bounds memory whatever the longest history is.
_TOKENS = 1 << 18


@dataclass(frozen=True, slots=True)
class Ranks:
    """Rank of each user's target, 1 the best: `kept` among all items, `masked` without the user's seen items.

    Both (U,) int64. An item that ties with the target ranks before it if its row is lower, as in the service.
    """

    kept: NDArray[np.int64]
    masked: NDArray[np.int64]

    def metrics(self) -> dict[str, float]:
        """All metrics of both columns, those of the second with the prefix `masked_`."""
        result = {}
        for prefix, ranks in (("", self.kept), ("masked_", self.masked)):
            for cutoff in CUTOFFS:
                result[f"{prefix}hr@{cutoff}"] = hit_rate(ranks, cutoff)
                result[f"{prefix}ndcg@{cutoff}"] = ndcg(ranks, cutoff)
                result[f"{prefix}mrr@{cutoff}"] = mrr(ranks, cutoff)
        return result


@torch.no_grad()
def leave_one_out(network: RecBLR, data: Interactions) -> Ranks:
    """Rank the last event of every history of at least two events, given all before it.

    Raises `DataError` where there is no such history.
    """
    lengths = data.lengths
    users = np.flatnonzero(lengths >= 2)
    if not len(users):
        raise DataError("no user has 2 events of items that the model knows: one to start from and one to predict")
    users = users[np.argsort(lengths[users], kind="stable")]
    was_training = network.training
    network.eval()
    kept, masked = [], []
    start = 0
    while start < len(users):
        # Histories of similar length share a pass.
        longest = int(lengths[users[min(start + 1024, len(users)) - 1]])
        stop = min(start + max(1, min(1024, _TOKENS // longest)), len(users))
        pair = _rank(network, data, users[start:stop])
        kept.append(pair[0].cpu().numpy())
        masked.append(pair[1].cpu().numpy())
        start = stop
    network.train(was_training)
    return Ranks(np.concatenate(kept), np.concatenate(masked))


def last_outputs(network: RecBLR, histories: Tensor, lengths: Tensor) -> Tensor:
    """Output (B, D) after each right-padded history (B, T), a start token put before it where the model has one."""
    if network.config.start_token:
        histories = torch.nn.functional.pad(histories, (1, 0))
        lengths = lengths + 1
    outputs, _ = network(histories, None, lengths)
    index = (lengths - 1)[:, None, None].expand(-1, 1, outputs.shape[2])
    last: Tensor = outputs.gather(1, index).squeeze(1)
    return last


def _rank(network: RecBLR, data: Interactions, users: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    device = network.item_embedding.weight.device
    lengths = data.lengths[users] - 1
    padded = np.zeros((len(users), int(lengths.max())), np.int64)
    for line, user in enumerate(users):
        padded[line, : lengths[line]] = data.rows[data.offsets[user] : data.offsets[user + 1] - 1]
    histories = torch.from_numpy(padded).to(device)
    target = torch.from_numpy(data.rows[data.offsets[users + 1] - 1].astype(np.int64)).to(device)[:, None]
    last = last_outputs(network, histories, torch.from_numpy(lengths).to(device))
    scores = last.float() @ network.item_embedding.weight.float().T
    scores[:, 0] = -torch.inf
    wanted = scores.gather(1, target)
    row = torch.arange(scores.shape[1], device=device)
    # Said the other way round, so that a network that has diverged (NaN is below nothing) ranks last, not first.
    before = ~((scores < wanted) | ((scores == wanted) & (row >= target)))
    kept = before.sum(1) + 1
    seen = torch.zeros_like(before).scatter_(1, histories, True)
    masked = (before & ~seen).sum(1) + 1
    # A target that the user has seen cannot be answered in the second column.
    return kept, torch.where(seen.gather(1, target).squeeze(1), scores.shape[1], masked)
