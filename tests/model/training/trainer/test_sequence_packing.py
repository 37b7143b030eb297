"""Training rows: their targets, inputs and starts, and how epochs differ."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from model.training.data.interactions import Interactions
from model.training.trainer.sequence_packing import Batch, SequencePacker
from tests.model.training.histories import histories_of_lengths

LENGTHS = [0, 1, 2, 9, 10, 11, 25, 40, 0, 3]


@pytest.fixture(params=[1 << 22, 16], ids=["one part", "parts"], autouse=True)
def events_per_part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack small data in one part and in several."""
    monkeypatch.setattr("model.training.trainer.sequence_packing._EVENTS_PER_PART", request.param)


CASES = [(token, length, batch) for token in (True, False) for length in (2, 5, 10, 100) for batch in (1, 3, 64)]


def numbered(lengths: list[int] = LENGTHS) -> Interactions:
    """Return histories in which the n-th event of all has row n."""
    total = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.arange(1, total + 1, dtype=np.int32)
    return Interactions(rows, offsets, [str(row) for row in rows], [str(user) for user in range(len(lengths))])


def epoch(data: Interactions, token: bool, length: int, batch: int, seed: int) -> list[Batch]:
    packer = SequencePacker(data, length, batch, token, torch.device("cpu"))
    batches = list(packer.epoch(torch.Generator().manual_seed(seed)))
    assert len(batches) == packer.steps_per_epoch
    return batches


def flat(batches: list[Batch]) -> list[tuple[int, int, bool]]:
    """Return (input, target, start) of every step with a target."""
    whole = (torch.cat([getattr(b, part) for b in batches]).flatten() for part in ("inputs", "targets", "starts"))
    return [step for step in zip(*(part.tolist() for part in whole), strict=True) if step[1]]


def first_events(data: Interactions) -> set[int]:
    return {int(data.rows[start]) for start, stop in pairwise(data.offsets) if stop > start}


@pytest.mark.parametrize(("token", "length", "batch"), CASES)
def test_every_event_is_a_target_once_per_epoch(token: bool, length: int, batch: int) -> None:
    """Without a start token a history's first event is an input only."""
    data = numbered()
    for seed in range(5):
        targets = Counter(target for _, target, _ in flat(epoch(data, token, length, batch, seed)))
        assert set(targets.values()) == {1}
        assert set(targets) == set(data.rows.tolist()) - (set() if token else first_events(data))


@pytest.mark.parametrize(("token", "length", "batch"), CASES)
def test_input_is_the_previous_event_or_the_start_token(token: bool, length: int, batch: int) -> None:
    data = numbered()
    for item, target, starts in flat(epoch(data, token, length, batch, seed=3)):
        assert item == (0 if token and target in first_events(data) else target - 1)
        assert starts is ((target if token else item) in first_events(data))


@pytest.mark.parametrize(("token", "length", "batch"), CASES)
def test_steps_of_a_row_are_consecutive_events_or_a_start(token: bool, length: int, batch: int) -> None:
    batches = epoch(numbered(), token, length, batch, seed=4)
    rows = len(batches[0].inputs)
    assert rows <= batch
    empty = sum(not line.any() for found in batches for line in found.targets)
    assert empty <= len(batches) + 1  # the last batch is filled up, and the phase can save a row
    for found in batches:
        assert found.inputs.shape == found.targets.shape == found.starts.shape == (rows, length)
        for targets, starts in zip(found.targets.tolist(), found.starts.tolist(), strict=True):
            for (before, target), begins in zip(pairwise(targets), starts[1:], strict=True):
                assert begins or target in (0, before + 1)


def test_equal_seeds_give_equal_epochs_and_other_seeds_others() -> None:
    first, again, other = (epoch(numbered(), True, 5, 3, seed) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.starts, b.starts)
    assert not all(torch.equal(a.targets, b.targets) for a, b in zip(first, other, strict=True))


def test_epochs_differ_in_cuts_and_order() -> None:
    data = numbered([40] * 30)
    cuts = []
    for seed in range(6):
        batches = epoch(data, True, 10, 16, seed)
        cuts.append({(int(row) - 1) % 10 for batch in batches for row in batch.targets[:, 0] if row})
        users = [int(row) // 40 for row in batches[0].targets.amax(1)]
        assert users != sorted(users)
    assert len(set.union(*cuts)) >= 3


@pytest.mark.parametrize("start_token", [True, False])
def test_targets_have_their_event_and_the_weight_of_their_user(start_token: bool) -> None:
    data = histories_of_lengths([7, 1, 30, 2, 64], 50)
    packer = SequencePacker(data, 16, 2, start_token, torch.device("cpu"), balance=0.5)
    seen = []
    weight_of_user = torch.zeros(len(data.user_ids))
    for batch in packer.epoch(torch.Generator().manual_seed(3)):
        is_target = batch.targets > 0
        events = batch.events[is_target]
        assert (torch.from_numpy(data.rows)[events] == batch.targets[is_target]).all()
        seen += events.tolist()
        users = torch.from_numpy(np.searchsorted(data.offsets, events.numpy(), side="right") - 1)
        weight_of_user.scatter_add_(0, users, batch.weights[is_target])
    first = set() if start_token else set(data.offsets[:-1].tolist())
    assert sorted(seen) == [event for event in range(len(data.rows)) if event not in first]
    steps = torch.from_numpy(data.lengths) - (0 if start_token else 1)
    expected = steps**0.5
    torch.testing.assert_close(
        weight_of_user, (expected / expected.sum() * steps.sum()).float(), rtol=1e-4, atol=1e-5
    )
