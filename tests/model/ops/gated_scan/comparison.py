"""Comparison of a float32 scan with the float64 reference.

All outputs and gradients are compared, with random upstream gradients.

`print_errors` is the part that runs under Triton's interpreter, in a process of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from model.ops.gated_scan.reference import gated_scan_reference

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]
NAMES = ("h", "last_h", "dx", "dgates", "dLambda", "dinitial")
# Every step valid; histories that end; histories that begin inside a row.
MODES = ("whole", "ragged", "starts")
INTERPRETED = [(T, H, "ragged") for T in (1, 2, 7) for H in (32, 96, 33)]
INTERPRETED += [(7, 33, "whole"), (2, 32, "starts")]
# Chained tiles: 2 and 3 of them backward, 3 and 5 forward.
INTERPRETED += [(37, 32, "ragged"), (37, 32, "whole"), (37, 33, "starts"), (70, 33, "ragged"), (70, 32, "starts")]
BATCH = 3


def inputs(T: int, H: int, seed: int, low: float = -7.0, high: float = 1.0) -> tuple[Tensor, ...]:
    """Random arguments, upstream gradients, lengths and starts of a scan."""
    draw = torch.Generator().manual_seed(seed)
    tensors = [
        torch.randn(BATCH, T, H, generator=draw),
        2 * torch.randn(BATCH, T, 2 * H, generator=draw),
        low + (high - low) * torch.rand(H, generator=draw),
        torch.randn(BATCH, H, generator=draw),
        torch.randn(BATCH, T, H, generator=draw),
        torch.randn(BATCH, H, generator=draw),
    ]
    lengths = torch.randint(1, T + 1, (BATCH,), generator=draw)
    lengths[0] = T
    return *tensors, lengths, torch.rand(BATCH, T, generator=draw) < 0.2


def results(scan: Scan, tensors: tuple[Tensor, ...], mode: str) -> list[Tensor]:
    """Outputs and gradients of the scan, in the order of NAMES."""
    *arguments, dh, dlast_h, lengths, starts = tensors
    arguments = [tensor.detach().clone().requires_grad_() for tensor in arguments]
    ends = lengths if mode == "ragged" else None
    h, last_h = scan(
        arguments[0], arguments[1], arguments[2], arguments[3], ends, starts if mode == "starts" else None
    )
    gradients = torch.autograd.grad((h, last_h), arguments, (dh.to(h.dtype), dlast_h.to(h.dtype)))
    return [h.detach(), last_h.detach(), *gradients]


def errors(scan: Scan, T: int, H: int, mode: str, device: str = "cpu") -> dict[str, float]:
    """max |scan - float64 reference| / max |float64 reference| of each result."""
    single = inputs(T, H, seed=T * 1000 + H)
    double = tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in single)
    wanted = results(gated_scan_reference, double, mode)
    found = results(scan, tuple(tensor.to(device) for tensor in single), mode)
    return {
        name: float((a.cpu().double() - b).abs().max() / b.abs().max().clamp(min=1e-30))
        for name, a, b in zip(NAMES, found, wanted, strict=True)
    }


def scale_error(scan: Scan, device: str = "cpu") -> float:
    """Largest relative error of sqrt(1 - a^2) near a = 1.

    One step from h = 0 with x = 1 yields this factor.
    """
    Lambda = torch.linspace(-16.0, 2.0, 73, dtype=torch.float64).float()
    H = len(Lambda)
    gates = torch.cat([torch.zeros(1, 1, H), torch.full((1, 1, H), 200.0)], dim=2)
    arguments = [tensor.to(device) for tensor in (torch.ones(1, 1, H), gates, Lambda, torch.zeros(1, H))]
    _, last_h = scan(arguments[0], arguments[1], arguments[2], arguments[3], None, None)
    wanted = torch.sqrt(-torch.expm1(-torch.log1p(torch.exp(Lambda.double()))))
    return float(((last_h[0].cpu().double() - wanted) / wanted).abs().max())


def finite_where_nothing_decays(scan: Scan, device: str = "cpu") -> bool:
    """Whether outputs and gradients are finite for a = 1.

    The slope of the square root is infinite there.
    """
    *tensors, dh, dlast_h, lengths, starts = (tensor.to(device) for tensor in inputs(5, 8, seed=1))
    tensors[2] = torch.tensor([-80.0, -86.0, -88.0, -95.0, -103.0, -104.0, -120.0, -1e4], device=device)
    return all(
        bool(tensor.isfinite().all()) for tensor in results(scan, (*tensors, dh, dlast_h, lengths, starts), "whole")
    )


def print_errors() -> None:
    """Print the errors of the interpreted kernels as JSON."""
    from model.ops.gated_scan.autograd import gated_scan_triton

    found: dict[str, dict[str, float] | float] = {
        f"{T} {H} {mode}": errors(gated_scan_triton, T, H, mode) for T, H, mode in INTERPRETED
    }
    found["scale"] = scale_error(gated_scan_triton)
    found["finite"] = finite_where_nothing_decays(gated_scan_triton)
    json.dump(found, sys.stdout)
