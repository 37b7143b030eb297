"""Gated scan of the published code, the benchmark's baseline.

Gates are separate elementwise operations, sequences are padded on the left to a power of two, channels are moved
before time, and one program scans a whole sequence of one channel. Only the benchmark uses it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _compose(a_first, b_first, a_second, b_second):
    return a_first * a_second, a_second * b_first + b_second


@triton.jit
def _scan_kernel(alpha_ptr, beta_ptr, h_ptr, T: tl.constexpr, REVERSE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * T + tl.arange(0, T)
    pair = (tl.load(alpha_ptr + at), tl.load(beta_ptr + at))
    _, h = tl.associative_scan(pair, 0, _compose, reverse=REVERSE)
    tl.store(h_ptr + at, h)


def _scan(alpha: Tensor, beta: Tensor, reverse: bool = False) -> Tensor:
    """Scan h_t = alpha_t h_{t-1} + beta_t over the last axis.

    Its length is a power of two.
    """
    h = torch.empty_like(beta)
    T = alpha.shape[-1]
    _scan_kernel[(alpha.numel() // T,)](alpha, beta, h, T=T, REVERSE=reverse, num_warps=max(1, min(16, T // 128)))
    return h


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, beta: Tensor) -> Tensor:
        h = _scan(alpha, beta)
        ctx.save_for_backward(alpha, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        alpha, h = ctx.saved_tensors
        dbeta = _scan(F.pad(alpha[..., 1:], (0, 1)).contiguous(), grads[0].contiguous(), reverse=True)
        return dbeta * F.pad(h[..., :-1], (1, 0)), dbeta


def gated_scan_published(x: Tensor, gates: Tensor, Lambda: Tensor) -> Tensor:
    """Return h (B, T, H) from a zero state.

    x is (B, T, H), gates (B, T, 2H), Lambda (H,).
    """
    T = x.shape[1]
    padding = (1 << (T - 1).bit_length()) - T
    # Zero padding; with x = 0 the padded steps leave h at zero.
    x, gates = F.pad(x, (0, 0, padding, 0)), F.pad(gates, (0, 0, padding, 0))
    r, i = gates.chunk(2, dim=-1)
    alpha = torch.exp(-F.softplus(Lambda) * torch.sigmoid(r))
    beta = torch.sqrt(1 - alpha.pow(2) + 1e-8) * torch.sigmoid(i) * x
    h: Tensor = _Scan.apply(alpha.mT.contiguous(), beta.mT.contiguous())
    return h.mT[:, padding:]
