"""Rebuild of many users' states at once: ragged histories in, recurrent states out. A model swap needs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import RecBLR

STEPS = 1 << 18


@torch.no_grad()
def rebuild(
    network: RecBLR,
    histories: Sequence[NDArray[np.integer]],
    steps: int = STEPS,
    begin: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """States (N, L, K, H) and outputs (N, D) after each of N histories, on the network's device and in its dtype.

    A history is an array of embedding rows, oldest first, without start token: where the model has one, it is put
    before each. An empty history of a model without one gives `initial_state` and an output of zeros. With `begin`
    (N, L, K, H) the histories continue these states instead; where there is nothing to continue with, the state stays
    and the output is zeros. Dropout is off meanwhile. One pass takes at most `steps` padded steps (or one history),
    which bounds its memory.
    """
    device = network.item_embedding.weight.device
    token = int(network.config.start_token and begin is None)
    lengths = np.array([len(history) for history in histories], np.int64) + token
    order = np.argsort(lengths, kind="stable")
    states = (network.begin(len(histories)) if begin is None else begin).clone()
    outputs = states.new_zeros(len(histories), network.config.dim)
    was_training = network.training
    network.eval()
    for chosen in _batches(order[lengths[order] > 0], lengths, steps):
        padded = np.zeros((len(chosen), int(lengths[chosen].max())), np.int64)
        for line, user in zip(padded, chosen, strict=True):
            line[token : lengths[user]] = histories[user]
        index = torch.from_numpy(chosen).to(device)
        valid = torch.from_numpy(lengths[chosen]).to(device)
        out, final = network(torch.from_numpy(padded).to(device), states[index], valid)
        states[index] = final
        outputs[index] = out[torch.arange(len(chosen), device=device), valid - 1]
    network.train(was_training)
    return states, outputs


def _batches(order: NDArray[np.int64], lengths: NDArray[np.int64], steps: int) -> list[NDArray[np.int64]]:
    """Users in order of length, as many together as `steps` padded steps allow."""
    batches = []
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop + 1 - start) * lengths[order[stop]] > steps:
            batches.append(order[start:stop])
            start = stop
    return batches
