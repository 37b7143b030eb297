"""Rank of a target item among all items of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from model.network import RecBLR


def item_scores(network: RecBLR, outputs: Tensor) -> Tensor:
    """Return the scores of all items (N, V + 1).

    outputs are (N, D). Row 0, which is no item, has -inf.
    """
    scores = outputs.float() @ network.item_embedding.weight.float().T
    scores[:, 0] = -torch.inf
    return scores


def items_ranked_before(scores: Tensor, targets: Tensor) -> Tensor:
    """Mark the items that rank before each target.

    Their number plus 1 is the rank of the target.

    Of items that tie, the one with the lower row ranks first, as in the service. The scores of a network that has
    diverged are NaN; its targets rank last.

    Args:
        scores: (N, V + 1) scores of the items.
        targets: (N,) int64, rows of the target items, from 1.

    Returns:
        (N, V + 1) bool. Row 0 of the table is no item; it is marked only if the target's score is NaN.
    """
    target_scores = scores.gather(1, targets[:, None])
    row = torch.arange(scores.shape[1], device=scores.device)
    ties_after = (scores == target_scores) & (row >= targets[:, None])
    return ~((scores < target_scores) | ties_after)
