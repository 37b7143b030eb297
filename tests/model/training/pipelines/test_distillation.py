"""What teachers expect becomes a lesson, and a student learns it; the plain definition in float64 is the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.network import RecBLR
from model.training.data.interactions import Interactions
from model.training.errors import DataError
from model.training.pipelines.distillation import learn_from_teachers
from model.training.trainer.hyperparameters import Hyperparameters, hyperparameters_for
from model.training.trainer.sequence_packing import Windows
from model.training.trainer.soft_targets import TAUGHT, SoftTargets, prepare_soft_targets
from model.training.trainer.trainer import Trainer

CPU = torch.device("cpu")


def histories(lengths: list[int], items: int, seed: int = 1) -> Interactions:
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = random.integers(1, items + 1, int(offsets[-1])).astype(np.int32)
    names = [str(item) for item in range(1, items + 1)]
    return Interactions(rows, offsets, names, [str(user) for user in range(len(lengths))])


def teachers_of(items: int, start_token: bool, widths: tuple[int, ...] = (8, 12)) -> list[RecBLR]:
    networks = []
    for seed, dim in enumerate(widths):
        torch.manual_seed(seed)
        network = RecBLR(ModelConfig(items=items, dim=dim, layers=1, start_token=start_token), 0.5, 0.5)
        torch.nn.init.normal_(network.item_embedding.weight, std=1.0)
        networks.append(network)
    return networks


@pytest.mark.parametrize("start_token", [True, False])
@pytest.mark.parametrize("items", [9, 90], ids=["fewer items than are kept", "more"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_lesson_is_the_mean_of_what_each_teacher_says_before_each_event(
    items: int, start_token: bool, temperature: float
) -> None:
    data = histories([5, 0, 1, 12, 3], items)
    teachers = teachers_of(items, start_token)
    soft_targets = prepare_soft_targets(teachers, data, temperature)
    asked = 0
    for user in range(len(data.user_ids)):
        begin, end = int(data.offsets[user]), int(data.offsets[user + 1])
        for event in range(begin if start_token else begin + 1, end):
            before = ([0] if start_token else []) + data.rows[begin:event].tolist()
            mean = torch.zeros(items + 1, dtype=torch.float64)
            for teacher in teachers:
                output = teacher(torch.tensor([before]))[0][0, -1].detach()
                scores = (teacher.item_embedding.weight.detach() @ output).double()[1:]
                mean[1:] += (scores / temperature).softmax(0) / len(teachers)
            found = torch.zeros(items + 1, dtype=torch.float64)
            found[soft_targets.items[event].long()] = soft_targets.shares[event].double()
            top = mean.topk(soft_targets.items.shape[1])
            wanted = torch.zeros_like(mean).scatter(0, top.indices, TAUGHT * top.values / top.values.sum())
            assert (found - wanted).abs().max() < 4e-3  # bfloat16
            assert found.sum() < 1.0
            asked += 1
    assert asked == (21 if start_token else 17)


@pytest.mark.parametrize("start_token", [True, False])
def test_rows_name_each_targets_event_and_its_users_weight(start_token: bool) -> None:
    data = histories([7, 1, 30, 2, 64], 50)
    windows = Windows(data, 16, 2, start_token, CPU, balance=0.5)
    seen = []
    weighed = torch.zeros(len(data.user_ids))
    for batch in windows.epoch(torch.Generator().manual_seed(3)):
        there = batch.targets > 0
        events = batch.events[there]
        assert (torch.from_numpy(data.rows)[events] == batch.targets[there]).all()
        seen += events.tolist()
        users = torch.from_numpy(np.searchsorted(data.offsets, events.numpy(), side="right") - 1)
        weighed.scatter_add_(0, users, batch.weights[there])
    first = set() if start_token else set(data.offsets[:-1].tolist())
    assert sorted(seen) == [event for event in range(len(data.rows)) if event not in first]
    steps = torch.from_numpy(data.lengths) - (0 if start_token else 1)
    wanted = steps**0.5
    torch.testing.assert_close(weighed, (wanted / wanted.sum() * steps.sum()).float(), rtol=1e-4, atol=1e-5)


def test_a_student_follows_its_lesson(tmp_path: Path) -> None:
    """Teachers who are sure of item 7 after everything, whatever came, bring the student to say so."""
    data = histories([20] * 40, 30)
    hyperparameters = Hyperparameters(
        window=16, batch=8, epochs=30, learning_rate=2e-2, dropout=0.0, embedding_dropout=0.0, evaluate_every=30
    )
    past = data.without_last(2)
    items = torch.full((len(past.rows), 1), 7, dtype=torch.int32)
    soft_targets = SoftTargets(items, torch.full((len(past.rows), 1), 0.9))
    trainer = Trainer(
        data, ModelConfig(items=30, dim=8, layers=1), hyperparameters, tmp_path, CPU, soft_targets=soft_targets
    )
    network = trainer.run(lambda line: None).network.eval()
    output = network(torch.tensor([[0, 3, 9]]))[0][0, -1]
    expected = (network.item_embedding.weight @ output)[1:].softmax(0)[7 - 1]
    assert 0.85 < expected < 0.96


def test_teachers_are_trained_once_and_a_killed_run_finds_them(tmp_path: Path) -> None:
    data = histories([12] * 50, 20)
    config = ModelConfig(items=20, dim=8, layers=1)
    hyperparameters = hyperparameters_for(50, 20, 600, {"teachers": 2, "epochs": 3})
    soft_targets = learn_from_teachers(data, config, hyperparameters, tmp_path, CPU)
    assert soft_targets is not None
    assert soft_targets.items.shape == (500, 20)
    assert sorted(path.name for path in (tmp_path / "teachers").iterdir()) == ["1", "2"]
    lines = (tmp_path / "teachers" / "2" / "metrics.jsonl").read_text().splitlines()
    again = learn_from_teachers(data, config, hyperparameters, tmp_path, CPU)
    assert again is not None
    assert torch.equal(again.shares, soft_targets.shares)
    assert (tmp_path / "teachers" / "2" / "metrics.jsonl").read_text().splitlines() == lines
    whole = learn_from_teachers(data, config, hyperparameters, tmp_path / "final", CPU, final=True)
    assert whole is not None
    assert len(whole.items) == 600


def test_no_teachers_is_no_lesson_and_too_many_items_are_a_sentence(tmp_path: Path) -> None:
    data = histories([12] * 5, 20)
    config = ModelConfig(items=20, dim=8, layers=1)
    assert learn_from_teachers(data, config, Hyperparameters(), tmp_path, CPU) is None
    with pytest.raises(DataError, match="--teachers 0"):
        learn_from_teachers(data, config, Hyperparameters(teachers=1, full_softmax=10), tmp_path, CPU)
