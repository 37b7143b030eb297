"""Choice of the gated scan's implementation by device."""

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
    """Run the Triton kernels on CUDA, the reference elsewhere.

    See `gated_scan_reference` for arguments and results.
    """
    if x.is_cuda:
        from model.ops.gated_scan.autograd import gated_scan_triton

        return gated_scan_triton(x, gates, Lambda, initial, lengths, starts)
    return gated_scan_reference(x, gates, Lambda, initial, lengths, starts)
