"""Triton kernel of the softmax cross-entropy, which overwrites logits by gradients."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_BLOCK = 8192


@triton.jit
def _kernel(
    logits_ptr,
    targets_ptr,
    scale_ptr,
    items_ptr,
    shares_ptr,
    losses_ptr,
    V,
    K,
    BLOCK: tl.constexpr,
    SOFT_LABELS: tl.constexpr,
    MIN_OTHERS: tl.constexpr,
):
    """Compute one row's loss with an online log-sum-exp, then write its gradients.

    SOFT_LABELS is K rounded up to a power of two; 0: there are none, and the target has probability 1.
    """
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets_ptr + row)
    scale = tl.where(target > 0, tl.load(scale_ptr + row), 0.0)
    line = logits_ptr + row * V
    largest = tl.full([1], -float("inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    for begin in range(0, V, BLOCK):
        column = begin + tl.arange(0, BLOCK)
        value = tl.load(line + column, column < V, -float("inf")).to(tl.float32)
        higher = tl.maximum(largest, tl.max(value, axis=0))
        total = total * tl.exp(largest - higher) + tl.sum(tl.exp(value - higher), axis=0)
        largest = higher
    norm = tl.sum(largest + tl.log(total), axis=0)
    rest = 1.0
    predicted = 0.0
    if SOFT_LABELS:
        k = tl.arange(0, SOFT_LABELS)
        item = tl.load(items_ptr + row * K + k, k < K, 0)
        share = tl.where(scale > 0, tl.load(shares_ptr + row * K + k, k < K, 0.0).to(tl.float32), 0.0)
        predicted = tl.sum(share * tl.load(line + item).to(tl.float32), axis=0)
        rest = 1.0 - tl.sum(share, axis=0)
    wanted = tl.load(line + target).to(tl.float32)
    likely = tl.exp(wanted - norm)
    others = tl.maximum(1.0 - likely, MIN_OTHERS)
    tl.store(losses_ptr + row, tl.where(scale < 0, tl.log(others), norm - rest * wanted - predicted) * scale)
    scale *= tl.where(scale < 0, likely / others, 1.0)
    tl.debug_barrier()  # all logits above are read before any is overwritten
    for begin in range(0, V, BLOCK):
        column = begin + tl.arange(0, BLOCK)
        value = tl.load(line + column, column < V, -float("inf")).to(tl.float32)
        gradient = tl.exp(value - norm) - tl.where(column == target, rest, 0.0)
        tl.store(line + column, gradient * scale, column < V)
    if SOFT_LABELS:
        tl.debug_barrier()
        gradient = tl.load(line + item, k < K, 0.0).to(tl.float32) - share * scale
        tl.store(line + item, gradient, k < K)


def loss_and_gradient(
    logits: Tensor, targets: Tensor, scale: Tensor, soft_labels: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Run the kernel; see `full.loss_and_gradient`.

    logits (N, V) are contiguous, float32 or bfloat16.
    """
    N, V = logits.shape
    losses = torch.empty(N, dtype=torch.float32, device=logits.device)
    block = min(MAX_BLOCK, triton.next_power_of_2(V))
    items, shares = (
        (targets, scale) if soft_labels is None else (soft_labels[0].contiguous(), soft_labels[1].contiguous())
    )
    K = 0 if soft_labels is None else items.shape[1]
    _kernel[(N,)](
        logits, targets, scale.contiguous(), items, shares, losses, V, K,
        BLOCK=block, SOFT_LABELS=triton.next_power_of_2(K) if K else 0, MIN_OTHERS=1e-6, num_warps=8,
    )  # fmt: skip
    return losses.sum()
