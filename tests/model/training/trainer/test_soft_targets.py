"""Soft targets against their definition in float64, and their student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.config import ModelConfig
from model.network import RecBLR
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.soft_targets import DISTILLATION_WEIGHT, SoftTargets, compute_soft_targets
from model.training.trainer.trainer import Trainer
from model.training.trainer.training_run import TrainingRun
from tests.model.training.histories import histories_of_lengths

CPU = torch.device("cpu")


def teachers_of(items: int, start_token: bool, widths: tuple[int, ...] = (8, 12)) -> list[RecBLR]:
    networks = []
    for seed, dim in enumerate(widths):
        torch.manual_seed(seed)
        network = RecBLR(ModelConfig(items=items, dim=dim, layers=1, start_token=start_token), 0.5, 0.5)
        torch.nn.init.normal_(network.item_embedding.weight, std=1.0)
        networks.append(network)
    return networks


@pytest.mark.parametrize("start_token", [True, False])
@pytest.mark.parametrize("items", [9, 90], ids=["fewer items than kept", "more items than kept"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_soft_targets_are_the_mean_of_the_teachers_distributions(
    items: int, start_token: bool, temperature: float
) -> None:
    data = histories_of_lengths([5, 0, 1, 12, 3], items)
    teachers = teachers_of(items, start_token)
    soft_targets = compute_soft_targets(teachers, data, temperature)
    checked = 0
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
            shares = DISTILLATION_WEIGHT * top.values / top.values.sum()
            expected = torch.zeros_like(mean).scatter(0, top.indices, shares)
            assert (found - expected).abs().max() < 4e-3  # bfloat16
            assert found.sum() < 1.0
            checked += 1
    assert checked == (21 if start_token else 17)


def test_student_learns_its_soft_targets(tmp_path: Path) -> None:
    """Teachers that always expect item 7 make the student expect it."""
    data = histories_of_lengths([20] * 40, 30)
    hyperparameters = Hyperparameters(
        window=16, batch=8, epochs=30, learning_rate=2e-2, dropout=0.0, embedding_dropout=0.0, evaluate_every=30
    )
    past = data.without_last(2)
    items = torch.full((len(past.rows), 1), 7, dtype=torch.int32)
    soft_targets = SoftTargets(items, torch.full((len(past.rows), 1), 0.9))
    run = TrainingRun(data, ModelConfig(items=30, dim=8, layers=1), hyperparameters, tmp_path, CPU)
    network = Trainer(run, soft_targets=soft_targets).run(lambda line: None).network.eval()
    output = network(torch.tensor([[0, 3, 9]]))[0][0, -1]
    expected = (network.item_embedding.weight @ output)[1:].softmax(0)[7 - 1]
    assert 0.85 < expected < 0.96
