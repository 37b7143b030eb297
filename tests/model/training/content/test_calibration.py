"""Calibration against ranks that are counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.training.content import calibration
from model.training.content.calibration import Calibration, CalibrationEvents, calibrate

ITEMS, D, PARTS, USERS = 60, 6, 4, 50


def made_up(seed: int = 0) -> tuple[CalibrationEvents, torch.Tensor, torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    outputs = torch.from_numpy(rng.standard_normal((USERS, D)) + 0.5).float()
    table, predicted = (torch.from_numpy(rng.standard_normal((ITEMS, D))) for _ in range(2))
    seen = [rng.integers(1, ITEMS + 1, rng.integers(1, 6)) for _ in range(USERS)]
    targets = torch.from_numpy(rng.integers(1, ITEMS + 1, USERS))
    return CalibrationEvents(outputs, targets, seen), table, predicted, rng.integers(-1, PARTS, ITEMS)


def gains_one_by_one(made: tuple, chosen: Calibration | None) -> tuple[float, float]:  # type: ignore[type-arg]
    """Return the mean gains on trained and on new targets."""
    events, table, predicted, parts = made
    other, new = [], []
    for part in range(PARTS):
        for output, row, seen in zip(events.outputs, events.targets.tolist(), events.seen, strict=True):
            scores = (table.float() @ output).numpy().copy()
            own = parts == part
            if chosen is None:
                scores[own] = -np.inf
            else:
                along = float(output.double() @ events.direction)
                scores[own] = chosen.scale * (predicted.float() @ output).numpy()[own] + chosen.shift * along
            target = scores[row - 1]
            scores[seen - 1] = -np.inf
            rank = int((scores > target).sum())
            gain = 1.0 / np.log2(2.0 + rank) if rank < 10 and row not in seen else 0.0
            (new if own[row - 1] else other).append(gain)
    return float(np.mean(other)), float(np.mean(new))


@pytest.mark.parametrize("chosen", [Calibration(), Calibration(1.7, -0.5), Calibration(0.8, 1.5)])
@pytest.mark.parametrize("block", [1 << 23, 200])
def test_gains_equal_those_counted_one_by_one(
    monkeypatch: pytest.MonkeyPatch, chosen: Calibration, block: int
) -> None:
    monkeypatch.setattr(calibration, "_BLOCK_SCORES", block)
    made = made_up()
    events, table, predicted, parts = made
    lists = calibration._BestLists.of(events, table, predicted, torch.from_numpy(parts))
    other, new = gains_one_by_one(made, chosen)
    assert lists.other(chosen) == pytest.approx(other, abs=1e-6)
    assert lists.new_items(chosen) == pytest.approx(new, abs=1e-6)
    assert lists.other(None) == pytest.approx(gains_one_by_one(made, None)[0], abs=1e-6)


def test_chosen_calibration_is_the_best_of_those_that_lose_little() -> None:
    events, table, predicted, parts = made_up(3)
    made = (events, table, 0.1 * predicted, parts)
    chosen, figures = calibrate(*made)
    assert figures["other"] >= figures["id_only"] * (1.0 - calibration.MAX_LOSS)
    other, new = gains_one_by_one(made, chosen)
    assert figures["new"] == pytest.approx(new, abs=1e-6)
    assert figures["other"] == pytest.approx(other, abs=1e-6)


def test_least_harm_is_chosen_if_all_cost_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MAX_LOSS", -1.0)
    made = made_up()
    _, figures = calibrate(*made)
    for other in (Calibration(), Calibration(0.7, -3.0), Calibration(0.7, 1.0)):
        assert figures["other"] >= gains_one_by_one(made, other)[0] - 1e-6
