"""Cross-entropy with the full softmax, in chunks of positions.

Loss and gradients take one pass. The logits of one chunk exist at a time and are overwritten by their gradients, so
the chunk bounds the memory for any catalogue. Nothing is approximated.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

# Logits in one chunk: 2^28 are 512 MiB in bfloat16. On a CPU a chunk stays in the last-level cache, unless that left
# too few rows for a fast matrix product.
CHUNK_LOGITS = 1 << 28
_CPU_CHUNK_LOGITS, _MIN_CPU_ROWS = 1 << 20, 64
# Least probability of all items but the target in an unlikelihood, so that float32 divides by no zero.
MIN_OTHERS = 1e-6


class SoftLabels(NamedTuple):
    """Probabilities from teachers (Hinton et al. 2015); the target has the rest.

    items   (N, K) rows of the table, distinct within a position
    shares  (N, K) probabilities; each position's sum is at most 1
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
        rows = chunk_rows(chunk, table.shape[0], outputs)
        dtable = torch.zeros_like(table, dtype=scale.dtype)
        doutputs, losses = [], []
        for begin in range(0, len(outputs), rows):
            part = slice(begin, begin + rows)
            o = outputs[part]
            soft_labels = None if items is None or shares is None else SoftLabels(items[part], shares[part])
            logits = o @ table.T
            losses.append(loss_and_gradient(logits, targets[part], scale[part], soft_labels))
            doutputs.append(logits @ table)
            add_product(dtable, logits.T, o)
        ctx.save_for_backward(torch.cat(doutputs), dtable.to(table.dtype))
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        doutputs, dtable = ctx.saved_tensors
        return doutputs * grads[0], dtable * grads[0], None, None, None, None, None


def chunk_rows(chunk: int, columns: int, outputs: Tensor) -> int:
    """Return how many positions a chunk has: at least one."""
    rows = chunk // columns
    if not outputs.is_cuda:
        rows = min(rows, max(_MIN_CPU_ROWS, _CPU_CHUNK_LOGITS // columns))
    return max(1, rows)


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to `total`, which may be of higher precision."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def loss_and_gradient(
    logits: Tensor, targets: Tensor, scale: Tensor, soft_labels: SoftLabels | None = None
) -> Tensor:
    """Return the sum of the losses, each times |scale| (N,).

    `logits` (N, V) are overwritten by their gradient. A target of 0 contributes nothing. The loss is the
    cross-entropy, -log p(target). Where `scale` is below 0 it is the unlikelihood, -log(1 - p(target)), which makes
    the target less likely (Welleck et al. 2020), and soft labels are ignored.
    """
    if logits.is_cuda:
        from model.ops.softmax_loss.loss_kernels import loss_and_gradient as fused

        return fused(logits, targets, scale, soft_labels)
    if logits.dtype == torch.float32:
        from model.ops.softmax_loss.cpu_kernels import loss_and_gradient_cpu

        return loss_and_gradient_cpu(logits, targets, scale, *(soft_labels or (None, None)))
    wanted, scale = targets[:, None], scale * (targets > 0)
    logits.sub_(logits.logsumexp(1, keepdim=True))
    losses = -logits.gather(1, wanted).squeeze(1)
    likely = torch.exp(-losses)
    gradient_of_target = torch.full_like(wanted, -1, dtype=logits.dtype)
    if soft_labels is not None:
        items, shares = soft_labels.items.long(), soft_labels.shares.to(logits.dtype)
        shares = shares * (scale > 0)[:, None]
        rest = 1.0 - shares.sum(1)
        losses = rest * losses - (shares * logits.gather(1, items)).sum(1)
        gradient_of_target = -rest[:, None]
    logits.exp_().scatter_add_(1, wanted, gradient_of_target)
    if soft_labels is not None:
        logits.scatter_add_(1, items, -shares)
    others = (1.0 - likely).clamp(min=MIN_OTHERS)
    logits.mul_((scale * torch.where(scale < 0, likely / others, 1.0))[:, None])
    return (scale * torch.where(scale < 0, others.log(), losses)).sum()


def softmax_loss(
    outputs: Tensor,
    table: Tensor,
    targets: Tensor,
    count: Tensor | None = None,
    chunk: int = CHUNK_LOGITS,
    weights: Tensor | None = None,
    soft_labels: SoftLabels | None = None,
) -> Tensor:
    """Return the mean cross-entropy over the positions that have a target.

    Without weights and soft labels the result equals `F.cross_entropy(outputs @ table.T, targets, ignore_index=0)`
    to the rounding of the logits' dtype.

    Args:
        outputs: (N, D).
        table: item vectors (V, D).
        targets: rows of the table (N,); 0: no target.
        count: divisor of the sum; None: the number of targets.
        chunk: most logits that exist at a time.
        weights: factor of each position's loss (N,); below 0, its target is made less likely.
        soft_labels: probabilities of other items than the target.

    Returns:
        A float32 scalar.
    """
    items, shares = (None, None) if soft_labels is None else soft_labels
    result: Tensor = _SoftmaxLoss.apply(  # type: ignore[no-untyped-call]
        outputs, table, targets, scale_of(outputs, targets, count, weights), chunk, items, shares
    )
    return result


def scale_of(outputs: Tensor, targets: Tensor, count: Tensor | None, weights: Tensor | None) -> Tensor:
    """Return each position's factor (N,), so that the sum is the mean."""
    count = targets.count_nonzero() if count is None else count
    kind = torch.float64 if outputs.dtype == torch.float64 else torch.float32
    scale = (1.0 / count.clamp(min=1).to(kind)).expand(len(targets))
    return scale if weights is None else scale * weights.to(kind)
