"""Kernel of the softmax loss on a CPU, in float32.

A row of logits stays in the core's cache while its maximum, its sum and its gradient are computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.compiled.array_types import F32
from model.compiled.elementary_functions import ONE, exp, sum_of
from model.compiled.jit import kernel, max_reduction
from model.ops.thread_pool import run_rows

_ZERO = np.float32(0)
_MIN_OTHERS = np.float32(1e-6)  # as in `full`


@max_reduction
def _maximum(row: F32) -> np.float32:
    highest: np.float32 = row[0]
    for v in range(len(row)):
        highest = max(highest, row[v])
    return highest


@kernel
def _losses_and_gradients(
    logits: F32,
    targets: Any,
    scale: F32,
    items: Any,
    shares: F32,
    losses: F32,
    first: int,
    last: int,
) -> None:
    """Write each position's loss, and overwrite its logits by their gradient."""
    for n in range(first, last):
        row, target = logits[n], targets[n]
        factor = scale[n]
        if target == 0 or factor == _ZERO:
            row[:] = _ZERO
            losses[n] = _ZERO
            continue
        rest, wanted = ONE, _ZERO
        taught = items.shape[1] if factor > _ZERO else 0
        for k in range(taught):
            rest -= shares[n, k]
            wanted += shares[n, k] * row[items[n, k]]
        wanted += rest * row[target]
        highest = _maximum(row)
        for v in range(len(row)):
            row[v] = exp(row[v] - highest)
        total = sum_of(row, len(row))
        losses[n] = factor * (highest + np.log(total) - wanted)
        if factor < _ZERO:  # make the target less likely
            likely = row[target] / total
            others = max(ONE - likely, _MIN_OTHERS)
            losses[n] = factor * np.log(others)
            factor *= likely / others
        inverse = factor / total
        for v in range(len(row)):
            row[v] *= inverse
        row[target] -= factor * rest
        for k in range(taught):
            row[items[n, k]] -= factor * shares[n, k]


def loss_and_gradient_cpu(
    logits: Tensor, targets: Tensor, scale: Tensor, items: Tensor | None, shares: Tensor | None
) -> Tensor:
    """Return the sum of the losses; see `full.loss_and_gradient`."""
    if items is None or shares is None:
        items, shares = torch.empty((len(logits), 0), dtype=torch.int64), torch.empty((len(logits), 0))
    losses = torch.empty(len(logits))
    given = (targets.contiguous(), scale.contiguous(), items.long().contiguous(), shares.float().contiguous())
    run_rows(_losses_and_gradients, len(logits), logits, *given, losses)
    return losses.sum()
