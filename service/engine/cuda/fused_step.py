"""One event of each user as one kernel launch.

States are packed, in device memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import LAYER_NORM_EPS, ModelConfig
from model.layers import RecurrentLayer
from model.network import RecBLR
from service.engine.cuda.kernels.step_kernel import step_kernel

MAX_USERS = 1024
# Up to so many users each have a multiprocessor of their own; more share the reading of the weights.
_ALONE = 128
_SHARING = 2


@dataclass(frozen=True, slots=True)
class StepArguments:
    """Tensors of a launch for M users, all int32 but `output`.

    Attributes:
        words: The packed states; user m's is words[start[m] : end[m]].
        start: (M,)
        end: (M,)
        new_row: (M,) the row of the user's event; 0 is none.
        new_type: (M,) its type.
        out: Where the next states go; user m's is out[out_start[m] : out_end[m]].
        out_start: (M,)
        out_end: (M,)
        valid: (M,) result: whether the state can be a result of a replay.
        output: (M, D) float32, result: the network's output.
    """

    words: Tensor
    start: Tensor
    end: Tensor
    new_row: Tensor
    new_type: Tensor
    out: Tensor
    out_start: Tensor
    out_end: Tensor
    valid: Tensor
    output: Tensor


class FusedStep:
    """The step kernel with the weights of one network."""

    def __init__(self, network: RecBLR, initial_conv: Tensor) -> None:
        """Prepare for a network.

        initial_conv (K - 1, H) are layer 0's conv inputs before any item.
        """
        config = network.config
        self.device, self.width = network.item_embedding.weight.device, config.dim
        self._table = network.item_embedding.weight.detach()
        types = network.type_embedding
        self._types = self._table[:1] if types is None else types.weight.detach()
        self._norm = torch.cat([network.layer_norm.weight, network.layer_norm.bias]).detach()
        self._weights = torch.cat(
            [_layer_weights(layer) for layer in network.recurrent_layers if isinstance(layer, RecurrentLayer)]
        )
        self._initial_conv = initial_conv.to(self.device).contiguous()
        D, H, K = config.dim, config.hidden, config.conv_width
        DP, HP, FP, KP = max(16, _power(D)), max(16, _power(H)), max(16, _power(4 * D)), _power(K)
        self._last_row, self._type_count = len(self._table) - 1, config.event_types
        self._sizes = {"D": D, "H": H, "K": K, "L": config.layers, "DP": DP, "HP": HP, "FP": FP, "KP": KP}
        self._sizes["TYPED"] = int(types is not None)
        self._scratch = torch.empty(MAX_USERS * KP * (2 * DP + HP + FP), device=self.device)

    def __call__(self, arguments: StepArguments) -> None:
        """Advance all users, at most MAX_USERS."""
        a, M = arguments, len(arguments.start)
        users = 1 if M <= _ALONE else _SHARING
        step_kernel[(-(-M // users),)](
            a.words, a.start, a.end, a.new_row, a.new_type, a.out_start, a.out_end, a.out, a.valid, a.output,
            self._scratch, self._table, self._types, self._norm, self._weights, self._initial_conv,
            M, self._last_row, self._type_count,
            **self._sizes, EPS=LAYER_NORM_EPS, USERS=users, BLOCK=32, num_warps=8,
        )  # fmt: skip


def supported(config: ModelConfig) -> bool:
    """Return whether the kernel's tiles of this width fit into registers."""
    return config.conv_width <= 8 and 4 * config.dim <= 512 and config.hidden <= 512


def _layer_weights(layer: RecurrentLayer) -> Tensor:
    """Return all weights of a layer, in the kernel's order.

    Matrices are (in, out).
    """
    mixer, ffn, norm = layer.behavior_modeling, layer.ffn, layer.layer_norm
    x, z = mixer.input.weight.chunk(2)
    r, i = mixer.gates.weight.chunk(2)
    assert mixer.conv1d.bias is not None  # noqa: S101 - the layer always has one
    parts = [
        *(x.T, z.T, mixer.conv1d.weight[:, 0].T, mixer.conv1d.bias),
        *(r.T, i.T, mixer.gates.bias, F.softplus(mixer.Lambda)),
        *(mixer.output.weight.T, norm.weight, norm.bias),
        *(ffn.w_1.weight.T, ffn.w_1.bias, ffn.w_2.weight.T, ffn.w_2.bias),
        *(ffn.layer_norm.weight, ffn.layer_norm.bias),
    ]
    return torch.cat([part.detach().reshape(-1) for part in parts])


def _power(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()
