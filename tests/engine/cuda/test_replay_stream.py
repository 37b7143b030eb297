"""Chunks of histories, and the forward pass that replays them."""

from __future__ import annotations

import numpy as np
import pytest

from service.engine.cuda import replay_stream
from service.engine.cuda.replay_stream import chunks_by_length
from tests.model.ops.interpreter import needs_triton, run_interpreted

_FORWARD = """
import torch
from service.engine.cuda.sequence_forward import SequenceForward
from tests.model.builders import CONFIGS, network_of, random_weights

for name, config in CONFIGS.items():
    network = network_of(config, random_weights(config, seed=4))
    draw = torch.Generator().manual_seed(5)
    items = torch.randint(1, config.items + 1, (3, 9), generator=draw)
    lengths, state = torch.tensor([9, 1, 2]), torch.randn(3, *config.state_shape, generator=draw)
    for types in (None, torch.randint(0, max(1, config.event_types), (3, 9), generator=draw)):
        with torch.no_grad():
            outputs, after = network(items, state, lengths, types=types)
        found = SequenceForward(network)(items, state, lengths, types)
        wanted = outputs[torch.arange(3), lengths - 1], after[:, :, -1], after[:, 1:, :-1]
        for a, b in zip(found, wanted, strict=True):
            assert a.shape == b.shape and (a.numel() == 0 or (a - b).abs().max() <= 1e-5), name
print("ok")
"""


@needs_triton
def test_interpreted_forward_equals_the_network() -> None:
    run = run_interpreted(_FORWARD)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "ok"


@pytest.mark.parametrize("most_steps", [1, 10, 1000])
def test_chunks_hold_every_user_once_within_the_bounds(monkeypatch: pytest.MonkeyPatch, most_steps: int) -> None:
    monkeypatch.setattr(replay_stream, "MAX_STEPS", most_steps)
    monkeypatch.setattr(replay_stream, "MAX_USERS", 7)
    lengths = np.random.default_rng(0).integers(2, 12, 50)
    chunks = chunks_by_length(lengths)
    assert sorted(np.concatenate(chunks).tolist()) == list(range(50))
    for chunk in chunks:
        assert len(chunk) <= 7
        assert len(chunk) == 1 or len(chunk) * lengths[chunk].max() <= most_steps


def test_no_users_are_no_chunks() -> None:
    assert chunks_by_length(np.empty(0, np.int64)) == []
