"""Compiled gated scan on a CPU as one differentiable operation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.ops.gated_scan.cpu_kernels import backward, forward
from model.ops.thread_pool import run_rows


class _GatedScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gates: Tensor, Lambda: Tensor, initial: Tensor, lengths: Tensor, starts: Tensor
    ) -> tuple[Tensor, Tensor]:
        h, last_h, rate = torch.empty_like(x), torch.empty_like(initial), F.softplus(Lambda)
        run_rows(forward, len(x), x, gates, rate, initial, lengths, starts, h, last_h)
        ctx.save_for_backward(x, gates, Lambda, initial, lengths, starts, h)
        return h, last_h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, Lambda, initial, lengths, starts, h = ctx.saved_tensors
        dh, dlast_h = (grad.contiguous() for grad in grads)
        dx, dgates, dinitial = torch.empty_like(x), torch.empty_like(gates), torch.empty_like(initial)
        drate = torch.zeros_like(initial)
        given = (x, gates, F.softplus(Lambda), initial, lengths, starts, h, dh, dlast_h)
        run_rows(backward, len(x), *given, dx, dgates, drate, dinitial)
        return dx, dgates, drate.sum(0) * torch.sigmoid(Lambda), dinitial, None, None


def gated_scan_cpu(
    x: Tensor,
    gates: Tensor,
    Lambda: Tensor,
    initial: Tensor,
    lengths: Tensor | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the kernels on float32 tensors; see `gated_scan_reference`."""
    B, T, _ = x.shape
    lengths = torch.full((B,), T) if lengths is None else lengths.long()
    starts = torch.zeros((B, T), dtype=torch.bool) if starts is None else starts
    result: tuple[Tensor, Tensor] = _GatedScan.apply(  # type: ignore[no-untyped-call]
        x.contiguous(), gates.contiguous(), Lambda, initial.contiguous(), lengths.contiguous(), starts.contiguous()
    )
    return result
