"""Choice of the gated scan's implementation by device."""

from __future__ import annotations

import torch
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
    """Run the kernels of the device.

    Triton on CUDA, numba on a CPU. Float64 and half precision on a CPU use the reference. See `gated_scan_reference`
    for arguments and results.
    """
    if x.is_cuda:
        from model.ops.gated_scan.autograd import gated_scan_triton

        return gated_scan_triton(x, gates, Lambda, initial, lengths, starts)
    if all(tensor.dtype == torch.float32 for tensor in (x, gates, Lambda, initial)):
        from model.ops.gated_scan.cpu_scan import gated_scan_cpu

        return gated_scan_cpu(x, gates, Lambda, initial, lengths, starts)
    return gated_scan_reference(x, gates, Lambda, initial, lengths, starts)
