"""Choice of the causal convolution's implementation by device."""

from __future__ import annotations

import torch
from torch import Tensor

from model.ops.causal_conv.reference import causal_conv_reference


def causal_conv(inputs: Tensor, weight: Tensor, bias: Tensor, position: Tensor | None = None) -> Tensor:
    """Run the kernel on float32 tensors of a CPU, the reference elsewhere.

    On CUDA the layers are compiled, which fuses the reference. See `causal_conv_reference` for arguments and result.
    """
    if not inputs.is_cuda and inputs.dtype == weight.dtype == torch.float32:
        from model.ops.causal_conv.cpu_conv import causal_conv_cpu

        return causal_conv_cpu(inputs, weight, bias, position)
    return causal_conv_reference(inputs, weight, bias, position)
