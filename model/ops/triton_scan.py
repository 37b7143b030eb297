"""The gated scan in Triton: forward and backward in one pass each, over (B, T, H) as the layers lay it out.

A program owns one sequence and a block of channels and walks over time with the state in registers, so every
input is read once and every output written once. Gates, decay and square root are computed on the way; the
backward pass computes them again rather than reading them.

Axes: B batch, T time, H channels. Tensors are contiguous; inputs float32 or bfloat16, arithmetic float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _gate(r, i, softplus_lambda):
    """a, sqrt(1 - a^2), sigmoid(r), sigmoid(i); 1 - a^2 without cancellation."""
    sig_r = tl.sigmoid(r)
    log_a = -softplus_lambda * sig_r
    a = tl.exp(log_a)
    # expm1 by its series where 1 - a^2 would cancel (|v| < 1/8: five terms give float32), else directly.
    v = 2.0 * log_a
    series = -v * (1.0 + v * (0.5 + v * (1.0 / 6.0 + v * (1.0 / 24.0 + v * (1.0 / 120.0 + v * (1.0 / 720.0))))))
    scale = tl.sqrt(tl.where(v > -0.125, series, 1.0 - a * a))
    return a, scale, sig_r, tl.sigmoid(i)


@triton.jit
def _softplus(value):
    return tl.where(value > 20.0, value, tl.log(1.0 + tl.exp(tl.minimum(value, 20.0))))


@triton.jit
def _forward_kernel(
    x_ptr, gates_ptr, lambda_ptr, initial_ptr, lengths_ptr, h_ptr, final_ptr, T, H, BLOCK: tl.constexpr
):
    batch = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = channel < H
    softplus_lambda = _softplus(tl.load(lambda_ptr + channel, inside, 0.0).to(tl.float32))
    h = tl.load(initial_ptr + batch * H + channel, inside, 0.0).to(tl.float32)
    length = tl.load(lengths_ptr + batch)
    x_row = x_ptr + batch * T * H + channel
    gates_row = gates_ptr + batch * T * 2 * H + channel
    h_row = h_ptr + batch * T * H + channel
    for t in range(T):
        x = tl.load(x_row, inside, 0.0).to(tl.float32)
        r = tl.load(gates_row, inside, 0.0).to(tl.float32)
        i = tl.load(gates_row + H, inside, 0.0).to(tl.float32)
        a, scale, _, sig_i = _gate(r, i, softplus_lambda)
        h = tl.where(t < length, a * h + scale * sig_i * x, h)
        tl.store(h_row, h, inside)
        x_row += H
        gates_row += 2 * H
        h_row += H
    tl.store(final_ptr + batch * H + channel, h, inside)


@triton.jit
def _backward_kernel(
    x_ptr,
    gates_ptr,
    lambda_ptr,
    initial_ptr,
    lengths_ptr,
    h_ptr,
    dh_ptr,
    dfinal_ptr,
    dx_ptr,
    dgates_ptr,
    dlambda_ptr,
    dinitial_ptr,
    T,
    H,
    BLOCK: tl.constexpr,
):
    batch = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = channel < H
    Lambda = tl.load(lambda_ptr + channel, inside, 0.0).to(tl.float32)
    softplus_lambda = _softplus(Lambda)
    initial = tl.load(initial_ptr + batch * H + channel, inside, 0.0).to(tl.float32)
    carry = tl.load(dfinal_ptr + batch * H + channel, inside, 0.0).to(tl.float32)
    dsoftplus = tl.zeros([BLOCK], tl.float32)
    length = tl.load(lengths_ptr + batch)
    for back in range(T):
        t = T - 1 - back
        row = (batch * T + t) * H + channel
        gate_row = (batch * T + t) * 2 * H + channel
        x = tl.load(x_ptr + row, inside, 0.0).to(tl.float32)
        r = tl.load(gates_ptr + gate_row, inside, 0.0).to(tl.float32)
        i = tl.load(gates_ptr + gate_row + H, inside, 0.0).to(tl.float32)
        first = channel * 0 + t == 0
        before = tl.where(first, initial, tl.load(h_ptr + row - H, inside & ~first, 0.0))
        dh = tl.load(dh_ptr + row, inside, 0.0).to(tl.float32) + carry
        a, scale, sig_r, sig_i = _gate(r, i, softplus_lambda)
        valid = t < length
        # d sqrt(1 - a^2) / d log a = -a^2 / sqrt(1 - a^2)
        dlog_a = dh * a * (before - sig_i * x * a / scale)
        dlog_a = tl.where(valid, dlog_a, 0.0)
        db = tl.where(valid, dh * scale, 0.0)
        dsoftplus -= dlog_a * sig_r
        tl.store(dx_ptr + row, db * sig_i, inside)
        tl.store(dgates_ptr + gate_row, -dlog_a * softplus_lambda * sig_r * (1.0 - sig_r), inside)
        tl.store(dgates_ptr + gate_row + H, db * x * sig_i * (1.0 - sig_i), inside)
        carry = tl.where(valid, dh * a, dh)
    tl.store(dlambda_ptr + batch * H + channel, dsoftplus * tl.sigmoid(Lambda), inside)
    tl.store(dinitial_ptr + batch * H + channel, carry, inside)


class _GatedScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gates: Tensor, Lambda: Tensor, initial: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        B, T, H = x.shape
        h = torch.empty(B, T, H, dtype=torch.float32, device=x.device)
        final = torch.empty(B, H, dtype=torch.float32, device=x.device)
        block, grid = _launch(B, H)
        _forward_kernel[grid](x, gates, Lambda, initial, lengths, h, final, T, H, BLOCK=block)
        ctx.save_for_backward(x, gates, Lambda, initial, lengths, h)
        return h, final

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, Lambda, initial, lengths, h = ctx.saved_tensors
        dh, dfinal = (grad.contiguous() for grad in grads)
        B, T, H = x.shape
        dx, dgates = torch.empty_like(x), torch.empty_like(gates)
        dlambda = torch.empty(B, H, dtype=torch.float32, device=x.device)
        dinitial = torch.empty(B, H, dtype=torch.float32, device=x.device)
        block, grid = _launch(B, H)
        _backward_kernel[grid](
            x, gates, Lambda, initial, lengths, h, dh, dfinal, dx, dgates, dlambda, dinitial, T, H, BLOCK=block
        )
        # Summed over the batch by a plain reduction, so that the result does not depend on scheduling.
        return dx, dgates, dlambda.sum(0).to(Lambda.dtype), dinitial.to(initial.dtype), None


def _launch(B: int, H: int) -> tuple[int, tuple[int, int]]:
    block = min(128, triton.next_power_of_2(H))
    return block, (B, triton.cdiv(H, block))


def gated_scan_triton(
    x: Tensor, gates: Tensor, Lambda: Tensor, initial: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`gated_scan_reference` on a GPU; h and final are float32."""
    B, T, _ = x.shape
    if lengths is None:
        lengths = torch.full((B,), T, dtype=torch.int32, device=x.device)
    result: tuple[Tensor, Tensor] = _GatedScan.apply(
        x.contiguous(), gates.contiguous(), Lambda, initial.contiguous(), lengths
    )
    return result
