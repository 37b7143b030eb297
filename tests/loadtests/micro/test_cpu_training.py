"""The benchmark of training on a CPU: its entries, not its times."""

from __future__ import annotations

import json
import sys

import pytest

from loadtests.micro import cpu_training
from loadtests.micro.cpu_training import products_call, train_call
from model.config import ModelConfig
from model.training.trainer.hyperparameters import Hyperparameters


def test_each_loss_is_compared_with_its_products(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = "cpu_training --step-events 4096 --items 20 --large-items 30 --negatives 7"
    monkeypatch.setattr(sys, "argv", command.split())
    cpu_training.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    rates = result["events_per_second"]
    assert result["time_relative_to_products"] == {
        "full softmax": pytest.approx(rates["products of the full softmax"] / rates["full softmax"]),
        "sampled": pytest.approx(rates["products of sampled"] / rates["sampled"]),
    }


def test_calls_run_again_and_again() -> None:
    config = ModelConfig(items=20, dim=4, layers=1)
    train, products = train_call(config, 400, Hyperparameters()), products_call(config, 400, 21)
    for call in (train, train, products, products):
        call()
