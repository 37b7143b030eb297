"""Full-softmax cross-entropy without keeping the logits: loss and gradients in one pass over chunks of positions.

The logits of one chunk live at a time and are overwritten by their own gradients, so memory is bounded by the
chunk whatever the catalogue's size is, and nothing is approximated.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

# Logits in one chunk: 2^28 are 512 MiB in bfloat16.
CHUNK = 1 << 28


class Shares(NamedTuple):
    """What a position is to predict besides its target (Hinton et al. 2015), whose share is what these leave.

    items (N, K) rows of the table, distinct within a position; shares (N, K), at least 0, each row's sum at most 1.
    """

    items: Tensor
    shares: Tensor


class _SoftmaxLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        outputs: Tensor,
        table: Tensor,
        targets: Tensor,
        scale: Tensor,
        chunk: int,
        items: Tensor | None,
        shares: Tensor | None,
    ) -> Tensor:
        rows = max(1, chunk // table.shape[0])
        dtable = torch.zeros_like(table, dtype=scale.dtype)
        doutputs, losses = [], []
        for begin in range(0, len(outputs), rows):
            part = slice(begin, begin + rows)
            o = outputs[part]
            taught = None if items is None or shares is None else Shares(items[part], shares[part])
            logits = o @ table.T
            losses.append(loss_and_gradient(logits, targets[part], scale[part], taught))
            doutputs.append(logits @ table)
            dtable += logits.T @ o
        ctx.save_for_backward(torch.cat(doutputs), dtable.to(table.dtype))
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        doutputs, dtable = ctx.saved_tensors
        return doutputs * grads[0], dtable * grads[0], None, None, None, None, None


def loss_and_gradient(logits: Tensor, targets: Tensor, scale: Tensor, taught: Shares | None = None) -> Tensor:
    """Sum of the losses, each times its `scale` (N,); `logits` (N, V) becomes its gradient.

    Targets of 0 count for nothing.
    """
    if logits.is_cuda:
        from model.ops.softmax.softmax_kernels import loss_and_gradient as fused

        return fused(logits, targets, scale, taught)
    wanted, scale = targets[:, None], scale * (targets > 0)
    logits.sub_(logits.logsumexp(1, keepdim=True))
    losses = -logits.gather(1, wanted).squeeze(1)
    gradient_of_target = torch.full_like(wanted, -1, dtype=logits.dtype)
    if taught is not None:
        items, shares = taught.items.long(), taught.shares.to(logits.dtype)
        rest = 1.0 - shares.sum(1)
        losses = rest * losses - (shares * logits.gather(1, items)).sum(1)
        gradient_of_target = -rest[:, None]
    logits.exp_().scatter_add_(1, wanted, gradient_of_target)
    if taught is not None:
        logits.scatter_add_(1, items, -shares)
    logits.mul_(scale[:, None])
    return (losses * scale).sum()


def softmax_loss(
    outputs: Tensor,
    table: Tensor,
    targets: Tensor,
    count: Tensor | None = None,
    chunk: int = CHUNK,
    weights: Tensor | None = None,
    taught: Shares | None = None,
) -> Tensor:
    """Mean cross-entropy over the positions that have a target, each times its weight (N,) where there are any.

    outputs (N, D), table (V, D), targets (N,) rows of the table, 0 meaning no target; a scalar float32. `count` is
    what the sum is divided by, None meaning the number of targets. Without weights and shares it equals
    `F.cross_entropy(outputs @ table.T, targets, ignore_index=0)` to the rounding of the logits' dtype.
    """
    items, shares = (None, None) if taught is None else taught
    result: Tensor = _SoftmaxLoss.apply(  # type: ignore[no-untyped-call]
        outputs, table, targets, scale_of(outputs, targets, count, weights), chunk, items, shares
    )
    return result


def scale_of(outputs: Tensor, targets: Tensor, count: Tensor | None, weights: Tensor | None) -> Tensor:
    """By what each position's loss is multiplied (N,), so that their sum is the mean; see `softmax_loss`."""
    count = targets.count_nonzero() if count is None else count
    kind = torch.float64 if outputs.dtype == torch.float64 else torch.float32
    scale = (1.0 / count.clamp(min=1).to(kind)).expand(len(targets))
    return scale if weights is None else scale * weights.to(kind)
