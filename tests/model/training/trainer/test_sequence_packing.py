"""Training rows: what is a target, what stands before it, where histories begin, and how epochs differ."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from model.training.data.interactions import Interactions
from model.training.trainer.sequence_packing import Batch, Windows

LENGTHS = [0, 1, 2, 9, 10, 11, 25, 40, 0, 3]


@pytest.fixture(params=[1 << 22, 16], ids=["one part", "parts"], autouse=True)
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small data in parts, as large data are."""
    monkeypatch.setattr("model.training.trainer.sequence_packing._PART", request.param)


CASES = [(token, length, batch) for token in (True, False) for length in (2, 5, 10, 100) for batch in (1, 3, 64)]


def numbered(lengths: list[int] = LENGTHS) -> Interactions:
    """Histories in which every event is an item of its own: row n is the n-th event of all."""
    total = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.arange(1, total + 1, dtype=np.int32)
    return Interactions(rows, offsets, [str(row) for row in rows], [str(user) for user in range(len(lengths))])


def epoch(data: Interactions, token: bool, length: int, batch: int, seed: int) -> list[Batch]:
    sampled = Windows(data, length, batch, token, torch.device("cpu"))
    batches = list(sampled.epoch(torch.Generator().manual_seed(seed)))
    assert len(batches) == sampled.steps_per_epoch
    return batches


def flat(batches: list[Batch]) -> list[tuple[int, int, bool]]:
    """(input, target, whether a history starts) at every step that has a target."""
    whole = (torch.cat([getattr(b, part) for b in batches]).flatten() for part in ("inputs", "targets", "starts"))
    return [step for step in zip(*(part.tolist() for part in whole), strict=True) if step[1]]


def firsts(data: Interactions) -> set[int]:
    return {int(data.rows[start]) for start, stop in pairwise(data.offsets) if stop > start}


@pytest.mark.parametrize(("token", "length", "batch"), CASES)
def test_every_event_is_a_target_once_an_epoch(token: bool, length: int, batch: int) -> None:
    """Without a start token a history's first event has nothing before it and is an input only."""
    data = numbered()
    for seed in range(5):
        targets = Counter(target for _, target, _ in flat(epoch(data, token, length, batch, seed)))
        assert set(targets.values()) == {1}
        assert set(targets) == set(data.rows.tolist()) - (set() if token else firsts(data))


@pytest.mark.parametrize(("token", "length", "batch"), CASES)
def test_a_target_follows_the_event_before_it_or_the_start_token(token: bool, length: int, batch: int) -> None:
    data = numbered()
    for item, target, starts in flat(epoch(data, token, length, batch, seed=3)):
        assert item == (0 if token and target in firsts(data) else target - 1)
        assert starts is ((target if token else item) in firsts(data))


@pytest.mark.parametrize(("token", "length", "batch"), CASES)
def test_within_a_row_steps_follow_each_other(token: bool, length: int, batch: int) -> None:
    """What stands before a step in its row is its own past, or is cut off by a start."""
    batches = epoch(numbered(), token, length, batch, seed=4)
    rows = len(batches[0].inputs)
    assert rows <= batch
    empty = sum(not line.any() for found in batches for line in found.targets)
    assert empty <= len(batches) + 1  # padding of the last step, and a row that the phase did not need
    for found in batches:
        assert found.inputs.shape == found.targets.shape == found.starts.shape == (rows, length)
        for targets, starts in zip(found.targets.tolist(), found.starts.tolist(), strict=True):
            for (before, target), begins in zip(pairwise(targets), starts[1:], strict=True):
                assert begins or target in (0, before + 1)


def test_the_same_seed_draws_the_same_epoch_and_another_one_another() -> None:
    first, again, other = (epoch(numbered(), True, 5, 3, seed) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.starts, b.starts)
    assert not all(torch.equal(a.targets, b.targets) for a, b in zip(first, other, strict=True))


def test_epochs_cut_histories_at_other_places_and_shuffle_them() -> None:
    data = numbered([40] * 30)
    cuts = []
    for seed in range(6):
        batches = epoch(data, True, 10, 16, seed)
        cuts.append({(int(row) - 1) % 10 for batch in batches for row in batch.targets[:, 0] if row})
        users = [int(row) // 40 for row in batches[0].targets.amax(1)]
        assert users != sorted(users)
    assert len(set.union(*cuts)) >= 3
