"""Replay of many users' ragged histories at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import RecBLR

MAX_STEPS = 1 << 18


@torch.no_grad()
def replay_histories(
    network: RecBLR,
    histories: Sequence[NDArray[np.integer]],
    max_steps: int = MAX_STEPS,
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return states and outputs after each of N histories, without dropout.

    Args:
        network: the model; it stays in its mode, on its device and in its dtype.
        histories: embedding rows of each history, oldest first, without the start token, which is prepended if the
            model has one.
        max_steps: padded steps in one forward pass, which bounds the memory; one history may exceed it.
        initial: states (N, L, K, H) that the histories continue; None: `network.begin`, and a start token.

    Returns:
        States (N, L, K, H) and outputs (N, D). Where there is nothing to replay, the state is unchanged and the
        output is zero.
    """
    device = network.item_embedding.weight.device
    token = int(network.config.start_token and initial is None)
    lengths = np.array([len(history) for history in histories], np.int64) + token
    order = np.argsort(lengths, kind="stable")
    states = (network.begin(len(histories)) if initial is None else initial).clone()
    outputs = states.new_zeros(len(histories), network.config.dim)
    was_training = network.training
    network.eval()
    for users in _batches(order[lengths[order] > 0], lengths, max_steps):
        padded = np.zeros((len(users), int(lengths[users].max())), np.int64)
        for line, user in zip(padded, users, strict=True):
            line[token : lengths[user]] = histories[user]
        index = torch.from_numpy(users).to(device)
        valid = torch.from_numpy(lengths[users]).to(device)
        batch_outputs, states[index] = network(torch.from_numpy(padded).to(device), states[index], valid)
        outputs[index] = batch_outputs[torch.arange(len(users), device=device), valid - 1]
    network.train(was_training)
    return states, outputs


def _batches(order: NDArray[np.int64], lengths: NDArray[np.int64], max_steps: int) -> list[NDArray[np.int64]]:
    """Return users in order of length, in batches of `max_steps` padded steps."""
    batches = []
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop + 1 - start) * lengths[order[stop]] > max_steps:
            batches.append(order[start:stop])
            start = stop
    return batches
