"""Training windows: what is a target, what stands before it, and how epochs differ."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from model.training.data import Interactions
from model.training.windows import Batch, Windows

LENGTHS = [0, 1, 2, 9, 10, 11, 25, 40, 0, 3]
CASES = [(token, length, batch) for token in (True, False) for length in (2, 5, 10, 100) for batch in (1, 3, 512)]


def numbered(lengths: list[int] = LENGTHS) -> Interactions:
    """Histories in which every event is an item of its own: row n is the n-th event of all."""
    total = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.arange(1, total + 1, dtype=np.int32)
    return Interactions(rows, offsets, [str(row) for row in rows], [str(user) for user in range(len(lengths))])


def windows(token: bool, length: int, batch: int, data: Interactions | None = None) -> Windows:
    return Windows(numbered() if data is None else data, length, batch, token, torch.device("cpu"))


def epoch(drawn: Windows, seed: int) -> list[Batch]:
    return list(drawn.epoch(torch.Generator().manual_seed(seed)))


def pairs(batches: list[Batch]) -> list[tuple[list[int], list[int]]]:
    """Each window's inputs and targets as far as its last target."""
    found = []
    for batch in batches:
        for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            length = max((t + 1 for t, target in enumerate(targets) if target), default=0)
            found.append((inputs[:length], targets[:length]))
    return found


def ends(data: Interactions) -> tuple[set[int], set[int]]:
    """The rows of all first and of all last events."""
    spans = [data.rows[start:stop].tolist() for start, stop in pairwise(data.offsets)]
    return {span[0] for span in spans if span}, {span[-1] for span in spans if span}


@pytest.mark.parametrize(("token", "length", "batch"), CASES)
def test_an_event_is_a_target_once_unless_it_opens_a_window(token: bool, length: int, batch: int) -> None:
    """The event that opens a window is an input only, but for a history's first where there is a start token."""
    data = numbered()
    firsts, lasts = ends(data)
    for seed in range(5):
        found = pairs(epoch(windows(token, length, batch), seed))
        targets = Counter(target for _, window in found for target in window if target)
        assert set(targets.values()) == {1}
        left_out = set(data.rows.tolist()) - set(targets)
        opening = {inputs[1] if token else inputs[0] for inputs, window in found if not (token and window[0])}
        assert opening <= left_out
        assert firsts <= (set(targets) if token else left_out)
        # Besides, an event that a cut leaves alone in its window, which only happens at the ends of a history.
        assert left_out - opening <= (lasts if token else lasts | firsts)


@pytest.mark.parametrize(("token", "length", "batch"), CASES)
def test_the_inputs_are_the_events_just_before(token: bool, length: int, batch: int) -> None:
    firsts, _ = ends(numbered())
    for inputs, targets in pairs(epoch(windows(token, length, batch), seed=3)):
        assert len(targets) <= length
        for t, target in enumerate(targets):
            if t == 0 and token:
                assert inputs[0] == 0
                assert target in firsts | {0}
            else:
                assert inputs[t] == target - 1
                assert target not in firsts


@pytest.mark.parametrize("token", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_batch_has_a_target(token: bool, batch: int) -> None:
    """The loss of a batch without one is not a number, and one such step destroys the weights."""
    for seed in range(20):
        for found in epoch(windows(token, 5, batch), seed):
            assert (found.targets > 0).any(dim=1).all()


@pytest.mark.parametrize("token", [True, False])
def test_the_same_seed_draws_the_same_epoch_and_another_one_another(token: bool) -> None:
    drawn = windows(token, 5, 3)
    first, again, other = (epoch(drawn, seed) for seed in (1, 1, 2))
    assert all(
        torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)
        for a, b in zip(first, again, strict=True)
    )
    assert sorted(pairs(first)) != sorted(pairs(other))


def test_phases_differ_between_epochs_and_users() -> None:
    data = numbered([40] * 30)
    drawn = windows(True, 10, 512, data)
    phases = []
    for seed in range(4):
        begun = [inputs[1] for inputs, targets in pairs(epoch(drawn, seed)) if not targets[0]]
        phases.append({(row - 1) % 40 % 10 for row in begun})
    assert all(len(phase) >= 8 for phase in phases)


def test_windows_are_shuffled_and_cut_into_batches() -> None:
    data = numbered([40] * 30)
    batches = epoch(windows(True, 10, 16, data), seed=1)
    assert all(len(batch.inputs) == 16 for batch in batches[:-1])
    assert 1 <= len(batches[-1].inputs) <= 16
    first_users = ((batches[0].targets.amax(1) - 1) // 40).tolist()
    assert first_users != sorted(first_users)


@pytest.mark.parametrize("batch", [16, 64])
def test_the_schedule_knows_about_how_many_steps_an_epoch_has(batch: int) -> None:
    drawn = windows(True, 10, batch, numbered([37] * 300))
    taken = [len(epoch(drawn, seed)) for seed in range(5)]
    assert all(abs(count - drawn.steps_per_epoch) <= 1 + 0.15 * count for count in taken)
