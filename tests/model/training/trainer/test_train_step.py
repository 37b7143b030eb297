"""One optimisation step."""

from __future__ import annotations

import pytest
import torch

from model.config import ModelConfig
from model.network import RecBLR
from model.training.trainer.distributed import SINGLE_PROCESS
from model.training.trainer.epoch_benchmark import random_histories
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.sequence_packing import SequencePacker
from model.training.trainer.train_step import TrainStep, negative_sampler

CONFIG = ModelConfig(items=30, dim=8, layers=2)
CPU = torch.device("cpu")


def train(part_events: int | None, full_softmax: int) -> tuple[list[float], list[torch.Tensor]]:
    """Losses of three steps, and the parameters after them."""
    data = random_histories(300, 12, CONFIG.items)
    batch = next(iter(SequencePacker(data, 10, 30, CONFIG.start_token, CPU).epoch(torch.Generator().manual_seed(0))))
    torch.manual_seed(1)
    network = RecBLR(CONFIG)
    negatives = negative_sampler(Hyperparameters(full_softmax=full_softmax, negatives=15), data, CPU)
    step = TrainStep(network, CPU, SINGLE_PROCESS, negatives, part_events=part_events)
    losses = [float(step(batch, 1e-2)) for _ in range(3)]
    return losses, [parameter.detach() for parameter in network.parameters()]


@pytest.mark.parametrize("full_softmax", [100, 0], ids=["full", "sampled"])
@pytest.mark.parametrize("part_events", [1, 70, 300])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(part_events: int, full_softmax: int) -> None:
    wanted_losses, wanted = train(None, full_softmax)
    losses, found = train(part_events, full_softmax)
    assert losses == pytest.approx(wanted_losses, rel=1e-5)
    assert losses[2] < losses[0]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


def table_after_a_step(table_decay: float) -> torch.Tensor:
    data = random_histories(300, 12, CONFIG.items)
    batch = next(iter(SequencePacker(data, 10, 30, CONFIG.start_token, CPU).epoch(torch.Generator().manual_seed(0))))
    torch.manual_seed(1)
    network = RecBLR(CONFIG)
    TrainStep(network, CPU, SINGLE_PROCESS, table_decay=table_decay)(batch, 1e-2)
    return network.item_embedding.weight.detach()


def test_table_decay_shrinks_the_table_by_its_share_of_the_learning_rate() -> None:
    torch.testing.assert_close(table_after_a_step(3.0), (1 - 0.03) * table_after_a_step(0.0))
