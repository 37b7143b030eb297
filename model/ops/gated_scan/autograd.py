"""Triton kernels of the gated scan as one differentiable operation."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from model.ops.gated_scan.triton_kernels import backward_kernel, forward_kernel

# Steps whose loads are in flight together, measured on an H200 (decision 0076). The forward pass keeps a tile in
# registers, so a chained tile is short; the backward pass walks through longer tiles in groups.
BLOCK, WARPS = 128, 2
FORWARD_TILE, FORWARD_CHAINED_TILE, FORWARD_CHAINED_WARPS = 4, 16, 4
BACKWARD_CHAINED_TILE, BACKWARD_GROUP = 32, 2
# Sequences times blocks of channels that fill the device. With fewer, tiles are chained.
MIN_PROGRAMS = 1024


def chained(B: int, T: int, H: int) -> bool:
    """Return whether time is split into tiles that run concurrently."""
    return T > FORWARD_CHAINED_TILE and B * triton.cdiv(H, _block(H)) < MIN_PROGRAMS


def _block(H: int) -> int:
    return min(BLOCK, 1 << (H - 1).bit_length())


_INPUTS = "Tensor x, Tensor gates, Tensor Lambda, Tensor initial, Tensor lengths, Tensor? starts"


@torch.library.custom_op("recblr::gated_scan", mutates_args=(), schema=f"({_INPUTS}) -> (Tensor, Tensor)")
def _forward(
    x: Tensor, gates: Tensor, Lambda: Tensor, initial: Tensor, lengths: Tensor, starts: Tensor | None
) -> tuple[Tensor, Tensor]:
    B, T, H = x.shape
    h, last_h = _forward_like(x, gates, Lambda, initial, lengths, starts)
    chain, block = chained(B, T, H), _block(H)
    tile, warps = (FORWARD_CHAINED_TILE, FORWARD_CHAINED_WARPS) if chain else (FORWARD_TILE, WARPS)
    tiles = triton.cdiv(T, tile)
    forward_kernel[(B * triton.cdiv(H, block) * (tiles if chain else 1),)](
        x, gates, Lambda, initial, lengths, starts, h, last_h, *_scratch(x, tiles if chain else 0), B, T, H, tiles,
        STARTS=starts is not None, CHAINED=chain, TILE=tile, BLOCK=block, num_warps=warps,
    )  # fmt: skip
    return h, last_h


@_forward.register_fake
def _forward_like(
    x: Tensor, gates: Tensor, Lambda: Tensor, initial: Tensor, lengths: Tensor, starts: Tensor | None
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape, dtype=torch.float32), initial.new_empty(initial.shape, dtype=torch.float32)


@torch.library.custom_op(
    "recblr::gated_scan_backward",
    mutates_args=(),
    schema=f"({_INPUTS}, Tensor h, Tensor dh, Tensor dlast_h) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _backward(
    x: Tensor,
    gates: Tensor,
    Lambda: Tensor,
    initial: Tensor,
    lengths: Tensor,
    starts: Tensor | None,
    h: Tensor,
    dh: Tensor,
    dlast_h: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    B, T, H = x.shape
    chain, block = chained(B, T, H), _block(H)
    steps = BACKWARD_CHAINED_TILE if chain else triton.cdiv(T, BACKWARD_GROUP) * BACKWARD_GROUP
    tiles = triton.cdiv(T, steps)
    dx, dgates = torch.empty_like(x), torch.empty_like(gates)
    dlambda = torch.empty(B * tiles, H, dtype=torch.float32, device=x.device)
    dinitial = torch.empty(B, H, dtype=torch.float32, device=x.device)
    backward_kernel[(B * triton.cdiv(H, block) * tiles,)](
        x, gates, Lambda, initial, lengths, starts, h, dh.contiguous(), dlast_h.contiguous(), dx, dgates, dlambda,
        dinitial, *_scratch(x, tiles if chain else 0), B, T, tiles, steps,
        H=H, STARTS=starts is not None, CHAINED=chain, GROUP=BACKWARD_GROUP, BLOCK=block, num_warps=WARPS,
    )  # fmt: skip
    # A plain reduction, so that the result does not depend on scheduling.
    return dx, dgates, dlambda.sum(0).to(Lambda.dtype), dinitial.to(initial.dtype)


@_backward.register_fake
def _backward_like(
    x: Tensor,
    gates: Tensor,
    Lambda: Tensor,
    initial: Tensor,
    lengths: Tensor,
    starts: Tensor | None,
    h: Tensor,
    dh: Tensor,
    dlast_h: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(gates), torch.empty_like(Lambda), torch.empty_like(initial)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[0])


def _gradients(ctx: Any, dh: Tensor, dlast_h: Tensor) -> tuple[Tensor | None, ...]:
    dx, dgates, dlambda, dinitial = _backward(*ctx.saved_tensors, dh, dlast_h)
    return dx, dgates, dlambda, dinitial, None, None


_forward.register_autograd(_gradients, setup_context=_save)


def _scratch(x: Tensor, chained_tiles: int) -> tuple[Tensor, Tensor]:
    """Return the ticket counter and the words that chained tiles exchange.

    Both are zero, from one kernel launch.
    """
    if not chained_tiles:
        nothing = torch.empty(1, dtype=torch.int64, device=x.device)
        return nothing, nothing
    words = torch.zeros(1 + x.shape[0] * chained_tiles * x.shape[2], dtype=torch.int64, device=x.device)
    return words[:1], words[1:]


def gated_scan_triton(
    x: Tensor,
    gates: Tensor,
    Lambda: Tensor,
    initial: Tensor,
    lengths: Tensor | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the kernels; see `gated_scan_reference`. The results are float32."""
    B, T, _ = x.shape
    if lengths is None:
        lengths = torch.full((B,), T, dtype=torch.int32, device=x.device)
    if starts is not None:
        starts = starts.to(torch.int8).contiguous()
    result: tuple[Tensor, Tensor] = _forward(
        x.contiguous(), gates.contiguous(), Lambda, initial.contiguous(), lengths, starts
    )
    return result
