"""Softmax cross-entropy over sampled negatives, for catalogues whose full softmax costs too much.

The normaliser Z = sum_j exp(s_j) of a position with target t is estimated from negatives that all positions share:

    Z' = exp(s_t) + sum over negatives j != t of exp(s_j - log(expected number of times that j is drawn))

Z' is Z in expectation, so loss and gradient approach the full softmax's as the number of negatives grows (the logQ
correction; Bengio and Senecal 2008). The target's own logit stays as it is and a negative that equals the target is
left out: it is in the sum already. Half of the negatives are targets of the batch itself, which are drawn as often as
items are popular; the other half are drawn from all items, so that one which nobody touched is pushed down too
(Yang et al. 2020, "Mixed negative sampling").
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.ops.softmax.full import CHUNK, loss_and_gradient, scale_of

# exp of it is 0 in every floating-point type, and unlike -inf it makes no NaN.
_NEVER = -1e4


class Negatives:
    """Draws negatives from torch's default generator; nothing waits for the device."""

    def __init__(self, popularity: Tensor, count: int) -> None:
        """Popularity (V,) is how often each row of the table is a target, on the device; row 0 is no item."""
        self.count = count
        self._share = popularity.float() / popularity.sum()

    def draw(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (count,) and the logarithm of how often each was expected among them.

        targets (N,) are the batch's, 0 where there is none. Row 0 may be drawn; it was expected infinitely often, as
        far as `sampled_softmax_loss` is concerned.
        """
        items = len(self._share) - 1
        here = self.count // 2
        place = torch.randint(len(targets), (here,), device=targets.device)
        anywhere = torch.randint(1, items + 1, (self.count - here,), device=targets.device)
        from_batch = targets[place]
        rows = torch.cat([from_batch, anywhere])
        expected = from_batch.count_nonzero() * self._share[rows] + (self.count - here) / items
        return rows, torch.where(rows > 0, expected.log(), -_NEVER)


class _SampledLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        outputs: Tensor,
        negatives: Tensor,
        positives: Tensor,
        rows: Tensor,
        log_expected: Tensor,
        targets: Tensor,
        scale: Tensor,
        chunk: int,
    ) -> Tensor:
        S = len(rows)
        columns = F.pad(negatives, (0, 0, 0, 1))  # the last column is the target's
        dcolumns = torch.zeros_like(columns, dtype=scale.dtype)
        doutputs, dpositives, losses = [], [], []
        n = max(1, chunk // (S + 1))
        for o, p, t, s in zip(*(torch.split(part, n) for part in (outputs, positives, targets, scale)), strict=True):
            logits = o @ columns.T
            logits[:, :S] -= log_expected.to(logits.dtype)
            logits[:, :S].masked_fill_(rows == t[:, None], _NEVER)
            logits[:, S] = (o * p).sum(1)
            losses.append(loss_and_gradient(logits, torch.where(t > 0, S, 0), s))
            own = logits[:, S:].clone()
            doutputs.append(torch.addcmul(logits @ columns, own, p))
            dpositives.append(own * o)
            dcolumns += logits.T @ o
        ctx.save_for_backward(torch.cat(doutputs), dcolumns[:S].to(negatives.dtype), torch.cat(dpositives))
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None, None, None, None, None)


def sampled_softmax_loss(
    outputs: Tensor,
    table: Tensor,
    targets: Tensor,
    negatives: tuple[Tensor, Tensor],
    count: Tensor | None = None,
    chunk: int = CHUNK,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean sampled-softmax cross-entropy over the positions that have a target, each times its weight if it has one.

    outputs (N, D), whose dtype the products are made in; table (V, D); targets (N,) rows of it, 0 meaning no target;
    negatives as `Negatives.draw` gives them; `count`, weights and the result as in `softmax_loss`. At most `chunk`
    logits live at a time.
    """
    rows, log_expected = negatives
    # One look-up, so that one gradient of the table's size is made.
    found = F.embedding(torch.cat([rows, targets]), table).to(outputs.dtype)
    result: Tensor = _SampledLoss.apply(  # type: ignore[no-untyped-call]
        outputs,
        found[: len(rows)],
        found[len(rows) :],
        rows,
        log_expected,
        targets,
        scale_of(outputs, targets, count, weights),
        chunk,
    )
    return result
