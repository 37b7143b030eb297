"""Replay of many histories against one history at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.batch_states import replay_histories
from model.config import ModelConfig
from model.network import RecBLR


@pytest.mark.parametrize("start_token", [True, False])
def test_each_state_is_that_of_its_own_history(start_token: bool) -> None:
    torch.manual_seed(3)
    network = (
        RecBLR(ModelConfig(items=30, dim=8, start_token=start_token), dropout=0.5, embedding_dropout=0.5)
        .double()
        .train()
    )
    network.initial_state.normal_()
    generator = np.random.default_rng(4)
    lengths = [0, 1, 2, 3, 5, 37, 200, 1, 0, 64]
    histories = [generator.integers(1, 31, length) for length in lengths]
    states, outputs = replay_histories(network, histories, max_steps=300)  # several passes
    assert network.training
    network.eval()
    for n, history in enumerate(histories):
        items = torch.from_numpy(np.concatenate([[0], history]) if start_token else history).long()
        state, output = network.begin(1), torch.zeros(1, 8, dtype=torch.float64)
        for item in items:
            output, state = network.step(item[None], state)
        torch.testing.assert_close(states[n], state[0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(outputs[n], output[0], rtol=1e-9, atol=1e-12)


def test_continued_histories_equal_whole_ones() -> None:
    network = RecBLR(ModelConfig(items=30, dim=8, start_token=True)).double().eval()
    generator = np.random.default_rng(5)
    cuts = [(3, 9), (1, 1), (20, 0), (0, 7), (40, 33)]
    whole = [generator.integers(1, 31, first + second) for first, second in cuts]
    begun, _ = replay_histories(network, [history[:first] for history, (first, _) in zip(whole, cuts, strict=True)])
    rest = [history[first:] for history, (first, _) in zip(whole, cuts, strict=True)]
    before = begun.clone()
    states, outputs = replay_histories(network, rest, max_steps=20, initial=begun)
    wanted, last = replay_histories(network, whole)
    torch.testing.assert_close(states, wanted, rtol=1e-9, atol=1e-12)
    moved = [n for n, (_, second) in enumerate(cuts) if second]
    torch.testing.assert_close(outputs[moved], last[moved], rtol=1e-9, atol=1e-12)
    assert not outputs[2].any()
    assert torch.equal(begun, before)


def test_no_histories_give_no_states() -> None:
    network = RecBLR(ModelConfig(items=3, dim=4))
    states, outputs = replay_histories(network, [])
    assert (states.shape, outputs.shape) == ((0, 2, 4, 8), (0, 4))
