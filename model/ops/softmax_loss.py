"""Full-softmax cross-entropy without keeping the logits: loss and gradients in one pass over chunks of positions.

The logits of one chunk live at a time and are overwritten by their own gradients, so memory is bounded by the
chunk whatever the catalogue's size is, and nothing is approximated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Logits in one chunk: 2^28 are 512 MiB in bfloat16.
CHUNK = 1 << 28


class _SoftmaxLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, outputs: Tensor, table: Tensor, targets: Tensor, count: Tensor, chunk: int) -> Tensor:
        kind = torch.float64 if outputs.dtype == torch.float64 else torch.float32
        scale = 1.0 / count.clamp(min=1).to(kind)
        rows = max(1, chunk // table.shape[0])
        dtable = torch.zeros_like(table, dtype=kind)
        doutputs, losses = [], []
        for o, wanted in zip(torch.split(outputs, rows), torch.split(targets, rows), strict=True):
            logits = o @ table.T
            losses.append(loss_and_gradient(logits, wanted, scale))
            doutputs.append(logits @ table)
            dtable += logits.T @ o
        ctx.save_for_backward(torch.cat(doutputs), dtable.to(table.dtype))
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        doutputs, dtable = ctx.saved_tensors
        return doutputs * grads[0], dtable * grads[0], None, None, None


def loss_and_gradient(logits: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Sum of the losses times `scale`; `logits` (N, V) becomes its gradient. Targets of 0 count for nothing."""
    if logits.is_cuda:
        from model.ops.triton_softmax import loss_and_gradient as fused

        return fused(logits, targets, scale)
    wanted = targets[:, None]
    logits.sub_(logits.logsumexp(1, keepdim=True))
    losses = -logits.gather(1, wanted).squeeze(1)
    counted = (targets > 0).to(logits.dtype)
    logits.exp_().scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=logits.dtype))
    logits.mul_((counted * scale)[:, None])
    return (losses * counted).sum() * scale


def softmax_loss(
    outputs: Tensor, table: Tensor, targets: Tensor, count: Tensor | None = None, chunk: int = CHUNK
) -> Tensor:
    """Mean cross-entropy over the positions that have a target.

    outputs (N, D), table (V, D), targets (N,) rows of the table, 0 meaning no target; a scalar float32. `count` is
    what the sum is divided by, None meaning the number of targets. Equal to
    `F.cross_entropy(outputs @ table.T, targets, ignore_index=0)` to the rounding of the logits' dtype.
    """
    count = targets.count_nonzero() if count is None else count
    result: Tensor = _SoftmaxLoss.apply(outputs, table, targets, count, chunk)  # type: ignore[no-untyped-call]
    return result
