"""Softmax cross-entropy of rows of logits in Triton: the loss, and the gradient in the logits' own place."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST_BLOCK = 8192


@triton.jit
def _kernel(logits_ptr, targets_ptr, scale_ptr, losses_ptr, V, BLOCK: tl.constexpr):
    """One row: an online log-sum-exp over blocks of the catalogue, then a second visit that writes gradients."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets_ptr + row)
    scale = tl.where(target > 0, tl.load(scale_ptr), 0.0)
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
    wanted = tl.load(line + target).to(tl.float32)
    tl.store(losses_ptr + row, (norm - wanted) * scale)
    tl.debug_barrier()  # the target's logit is read before its place is written
    for begin in range(0, V, BLOCK):
        column = begin + tl.arange(0, BLOCK)
        value = tl.load(line + column, column < V, -float("inf")).to(tl.float32)
        gradient = tl.exp(value - norm) - tl.where(column == target, 1.0, 0.0)
        tl.store(line + column, gradient * scale, column < V)


def loss_and_gradient(logits: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """See `softmax_loss.loss_and_gradient`; logits (N, V) contiguous, float32 or bfloat16."""
    N, V = logits.shape
    losses = torch.empty(N, dtype=torch.float32, device=logits.device)
    block = min(LARGEST_BLOCK, triton.next_power_of_2(V))
    _kernel[(N,)](logits, targets, scale, losses, V, BLOCK=block, num_warps=8)
    return losses.sum()
