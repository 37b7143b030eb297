"""Which implementation of the gated scan runs where."""

from __future__ import annotations

from torch import Tensor

from model.ops.gated_scan.reference import gated_scan_reference


def gated_scan(
    x: Tensor,
    gates: Tensor,
    Lambda: Tensor,
    initial: Tensor,
    lengths: Tensor | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The gated scan of `reference.py`: the Triton kernels on CUDA, the reference elsewhere."""
    if x.is_cuda:
        from model.ops.gated_scan.autograd import gated_scan_triton

        return gated_scan_triton(x, gates, Lambda, initial, lengths, starts)
    return gated_scan_reference(x, gates, Lambda, initial, lengths, starts)
