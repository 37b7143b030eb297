"""Causal convolution: the reference against PyTorch's, the CPU kernels against it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.ops.causal_conv.cpu_conv import causal_conv_cpu
from model.ops.causal_conv.dispatch import causal_conv
from model.ops.causal_conv.reference import causal_conv_reference

BATCH = 3


def draw(T: int, H: int, K: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random inputs, taps, bias and upstream gradient, in float64."""
    generator = torch.Generator().manual_seed(100 * T + H + K)
    shapes = ((BATCH, K - 1 + T, H), (H, K), (H,), (BATCH, T, H))
    inputs, weight, bias, upstream = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return inputs, weight, bias, upstream


def positions(T: int) -> Tensor:
    """Steps since the last start.

    The first row has no start, the second one at its first step.
    """
    position = torch.arange(T).repeat(BATCH, 1) + 1000
    position[1] = torch.arange(T)
    position[2, T // 2 :] = torch.arange(T - T // 2)
    return position


@pytest.mark.parametrize("K", [1, 2, 4])
def test_reference_is_a_depthwise_convolution_with_silu(K: int) -> None:
    inputs, weight, bias, _ = draw(9, 5, K)
    wanted = F.silu(F.conv1d(inputs.mT, weight[:, None], bias, groups=5)).mT
    torch.testing.assert_close(causal_conv_reference(inputs, weight, bias), wanted)


def test_inputs_before_a_start_count_as_zero() -> None:
    inputs, weight, bias, _ = draw(9, 5, 4)
    found = causal_conv_reference(inputs, weight, bias, positions(9))
    alone = torch.cat([torch.zeros(1, 3, 5, dtype=torch.float64), inputs[2:, 3 + 4 :]], dim=1)
    torch.testing.assert_close(found[2:, 4:], causal_conv_reference(alone, weight, bias))


@pytest.mark.parametrize("T", [1, 2, 7, 50])
@pytest.mark.parametrize("H", [1, 33, 128])
@pytest.mark.parametrize("K", [1, 2, 4])
@pytest.mark.parametrize("starts", [False, True])
def test_cpu_kernels_agree_with_float64(T: int, H: int, K: int, starts: bool) -> None:
    *tensors, upstream = draw(T, H, K)
    position = positions(T) if starts else None
    doubles = [tensor.requires_grad_() for tensor in tensors]
    singles = [tensor.detach().float().requires_grad_() for tensor in tensors]
    wanted = causal_conv_reference(*doubles, position)
    found = causal_conv_cpu(*singles, position)
    pairs = [(found, wanted)]
    gradients = torch.autograd.grad(found, singles, upstream.float())
    pairs += zip(gradients, torch.autograd.grad(wanted, doubles, upstream), strict=True)
    for one, other in pairs:
        assert (one.double() - other).abs().max() <= 2e-6 * other.abs().max()


def test_float32_on_a_cpu_uses_the_kernels_and_float64_the_reference() -> None:
    inputs, weight, bias, _ = draw(7, 8, 4)
    singles = inputs.float(), weight.float(), bias.float()
    assert torch.equal(causal_conv(*singles), causal_conv_cpu(*singles))
    assert torch.equal(causal_conv(inputs, weight, bias), causal_conv_reference(inputs, weight, bias))
