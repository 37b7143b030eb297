"""One event of each user as one kernel launch, from packed states to packed states in a device's memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import LAYER_NORM_EPS, ModelConfig
from model.network import RecBLR
from service.engine.cuda.kernels.step_kernel import step_kernel

# With fewer users than the device has multiprocessors, each gets one of its own.
_ALONE = 128
_USERS = 2
_MAX_USERS = 1024


@dataclass(frozen=True, slots=True)
class Advance:
    """What the kernel reads and writes for M users, all on the device.

    State m is words[begin[m] : end[m]] (int32), fresh[m] the row of its new event or 0; the next state goes to
    out[out_begin[m] : out_end[m]]. sound (M,) and output (M, D) are results.
    """

    words: Tensor
    begin: Tensor
    end: Tensor
    fresh: Tensor
    out: Tensor
    out_begin: Tensor
    out_end: Tensor
    sound: Tensor
    output: Tensor


class FusedStep:
    """The step kernel with one network's weights; `first_inputs` (K - 1, H) are layer 0's conv inputs before any item."""

    def __init__(self, network: RecBLR, first_inputs: Tensor) -> None:
        config = network.config
        self.device, self.width = network.item_embedding.weight.device, config.dim
        self._table = network.item_embedding.weight.detach()
        self._norm = torch.cat([network.layer_norm.weight, network.layer_norm.bias]).detach()
        self._weights = torch.cat([_layer_weights(layer) for layer in network.recurrent_layers])
        self._first_inputs = first_inputs.to(self.device).contiguous()
        D, H, K = config.dim, config.hidden, config.conv_width
        DP, HP, FP = (max(16, _power(n)) for n in (D, H, 4 * D))
        KP = _power(K)
        self._items = config.items
        self._sizes = {"D": D, "H": H, "K": K, "L": config.layers, "DP": DP, "HP": HP, "FP": FP, "KP": KP}
        self._scratch = torch.empty(_MAX_USERS * KP * (2 * DP + HP + FP), device=self.device)

    def __call__(self, job: Advance) -> None:
        """Advance all users of `job`, at most 1,024."""
        M = len(job.begin)
        users = 1 if M <= _ALONE else _USERS
        step_kernel[(-(-M // users),)](
            job.words, job.begin, job.end, job.fresh, job.out_begin, job.out_end, job.out, job.sound, job.output,
            self._scratch, self._table, self._norm, self._weights, self._first_inputs, M, self._items,
            **self._sizes, EPS=LAYER_NORM_EPS, USERS=users, BLOCK=32 if users == 1 else 16, num_warps=8,
        )  # fmt: skip


def supported(config: ModelConfig) -> bool:
    """Whether the kernel's tiles of this width stay in registers."""
    return config.conv_width <= 8 and 4 * config.dim <= 512 and config.hidden <= 512


def _layer_weights(layer: torch.nn.Module) -> Tensor:
    """All weights of a layer end to end, in the order in which the kernel reads them; matrices (in, out)."""
    mixer, ffn = layer.behavior_modeling, layer.ffn
    x, z = mixer.input.weight.chunk(2)
    r, i = mixer.gates.weight.chunk(2)
    parts = [
        x.T, z.T, mixer.conv1d.weight[:, 0].T, mixer.conv1d.bias, r.T, i.T, mixer.gates.bias, F.softplus(mixer.Lambda),
        mixer.output.weight.T, layer.layer_norm.weight, layer.layer_norm.bias, ffn.w_1.weight.T, ffn.w_1.bias,
        ffn.w_2.weight.T, ffn.w_2.bias, ffn.layer_norm.weight, ffn.layer_norm.bias,
    ]  # fmt: skip
    return torch.cat([part.detach().reshape(-1) for part in parts])


def _power(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()
