"""Compiled causal convolution on a CPU as one differentiable operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model.ops.causal_conv.cpu_kernels import backward, forward
from model.ops.thread_pool import run_rows


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, taps: Tensor, bias: Tensor, position: Tensor) -> Tensor:
        B, T, H = *position.shape, inputs.shape[2]
        outputs = inputs.new_empty(B, T, H)
        run_rows(forward, B, inputs, taps, bias, position, outputs)
        ctx.save_for_backward(inputs, taps, bias, position)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs, taps, bias, position = ctx.saved_tensors
        B = len(inputs)
        dinputs, dtaps = torch.zeros_like(inputs), inputs.new_zeros(B, *taps.shape)
        dbias = inputs.new_zeros(B, len(bias))
        run_rows(backward, B, inputs, taps, bias, position, grads[0].contiguous(), dinputs, dtaps, dbias)
        return dinputs, dtaps.sum(0), dbias.sum(0), None


def causal_conv_cpu(inputs: Tensor, weight: Tensor, bias: Tensor, position: Tensor | None = None) -> Tensor:
    """Run the kernels on float32 tensors; see `causal_conv_reference`."""
    B, K = len(inputs), weight.shape[1]
    if position is None:
        position = torch.full((B, inputs.shape[1] - K + 1), K)
    result: Tensor = _CausalConv.apply(  # type: ignore[no-untyped-call]
        inputs.contiguous(), weight.T.contiguous(), bias, position.long().clamp(max=K).contiguous()
    )
    return result
