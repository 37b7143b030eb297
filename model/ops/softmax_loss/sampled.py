"""Cross-entropy with sampled negatives, for large catalogues.

The normaliser Z = sum_j exp(s_j) of a position with target t is estimated from negatives shared by all positions:

    Z' = exp(s_t) + sum over negatives j != t of exp(s_j - log(expected number of times that j is sampled))

Z' is Z in expectation, so loss and gradient approach those of the full softmax as the number of negatives grows (the
logQ correction; Bengio and Senecal 2008). The target's logit is not corrected, and a negative that equals the target
is left out, because the sum contains the target already. Half of the negatives are targets of the batch, and so
sampled by popularity. The other half are sampled from all items, so that items without events are trained too (Yang
et al. 2020, "Mixed negative sampling").
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.ops.softmax_loss.full import CHUNK_LOGITS, add_product, chunk_rows, loss_and_gradient, scale_of

# exp of it is 0 in every floating-point type, and unlike -inf it yields no NaN.
_EXCLUDED = -1e4


class Negatives:
    """Sampler of negatives; never waits for the device.

    It uses torch's default generator.
    """

    def __init__(self, popularity: Tensor, count: int) -> None:
        """Prepare to sample `count` negatives per batch.

        popularity (V,) counts how often each row of the table is a target; row 0 is not an item.
        """
        self.count = count
        self._share = popularity.float() / popularity.sum()

    def draw(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sample negatives for a batch of targets (N,).

        A target of 0 means that there is none.

        Returns:
            Rows (count,), and the logarithm of each row's expected number. Row 0 may be sampled; its expected number
            is infinite, so that it contributes nothing.
        """
        items = len(self._share) - 1
        in_batch = self.count // 2
        positions = torch.randint(len(targets), (in_batch,), device=targets.device)
        uniform = torch.randint(1, items + 1, (self.count - in_batch,), device=targets.device)
        from_batch = targets[positions]
        rows = torch.cat([from_batch, uniform])
        expected = from_batch.count_nonzero() * self._share[rows] + (self.count - in_batch) / items
        return rows, torch.where(rows > 0, expected.log(), -_EXCLUDED)


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
        n = chunk_rows(chunk, S + 1, outputs)
        for o, p, t, s in zip(*(torch.split(part, n) for part in (outputs, positives, targets, scale)), strict=True):
            logits = o @ columns.T
            logits[:, :S] -= log_expected.to(logits.dtype)
            logits[:, :S].masked_fill_(rows == t[:, None], _EXCLUDED)
            logits[:, S] = (o * p).sum(1)
            losses.append(loss_and_gradient(logits, torch.where(t > 0, S, 0), s))
            own = logits[:, S:].clone()
            doutputs.append(torch.addcmul(logits @ columns, own, p))
            dpositives.append(own * o)
            add_product(dcolumns, logits.T, o)
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
    chunk: int = CHUNK_LOGITS,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the mean cross-entropy with sampled negatives.

    Products have the dtype of `outputs`. `negatives` are from `Negatives.draw`; the other arguments and the result
    are those of `softmax_loss`.
    """
    rows, log_expected = negatives
    # A single look-up, so that only one gradient of the table's size is created.
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
