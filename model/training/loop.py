"""The trainer: windows with the loss at every position, full softmax, early stopping on validation NDCG@10."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import ModelConfig
from model.network import RecBLR
from model.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.training.data import Interactions
from model.training.evaluation import leave_one_out
from model.training.recipe import Recipe
from model.training.windows import Batch, Windows

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Trained:
    """The network with its best weights, and what the run measured. `seconds` is time spent on training steps."""

    network: RecBLR
    metrics: dict[str, float]
    best_epoch: int
    seconds: float


class Trainer:
    """One run over `data`, whose last event of each user is the test and last but one the validation target."""

    def __init__(
        self, data: Interactions, config: ModelConfig, recipe: Recipe, folder: Path, device: torch.device
    ) -> None:
        torch.manual_seed(recipe.seed)
        self._data = data
        self._recipe = recipe
        self._folder = folder
        self._device = device
        self.network = RecBLR(config, recipe.dropout).to(device)
        self._windows = Windows(data.without_last(2), recipe.window, recipe.batch, config.start_token, device)
        self.steps = recipe.epochs * self._windows.steps_per_epoch
        self._adam = torch.optim.Adam(self.network.parameters(), lr=recipe.learning_rate, fused=device.type == "cuda")
        self._numbers: dict[str, Any] = {
            "run": {"config": config.to_dict(), "recipe": recipe.to_dict(), "data": data.summary()},
            "epoch": 0,
            "step": 0,
            "best": -1.0,
            "best_epoch": 0,
            "stale": 0,
            "seconds": 0.0,
        }
        self._best = _copy(self.network)

    def run(self, report: Report) -> Trained:
        """Train to the end, or until validation has stopped improving; resumes a run that was cut off.

        `report` receives one flat dictionary an epoch.
        """
        self._resume()
        numbers, recipe = self._numbers, self._recipe
        while numbers["epoch"] < recipe.epochs and numbers["stale"] < recipe.patience:
            numbers["epoch"] += 1
            line = self._epoch(numbers["epoch"])
            if numbers["epoch"] % recipe.evaluate_every == 0 or numbers["epoch"] == recipe.epochs:
                line |= self._validate()
            report(line)
        self.network.load_state_dict(self._best)
        metrics = leave_one_out(self.network, self._data).metrics()
        metrics["validation_ndcg@10"] = numbers["best"]
        return Trained(self.network, metrics, numbers["best_epoch"], numbers["seconds"])

    def _epoch(self, epoch: int) -> dict[str, Any]:
        # Seeded by the epoch, so that a resumed run draws what the whole one would have drawn.
        seed = self._recipe.seed * 1_000_003 + epoch
        torch.manual_seed(seed)
        generator = torch.Generator(self._device).manual_seed(seed)
        started = time.perf_counter()
        losses = [self._step(batch) for batch in self._windows.epoch(generator)]
        loss = float(torch.stack(losses).mean())  # waits for the device
        seconds = time.perf_counter() - started
        self._numbers["seconds"] += seconds
        return {"epoch": epoch, "loss": loss, "seconds": seconds}

    def _step(self, batch: Batch) -> Tensor:
        self.network.train()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            outputs, _ = self.network(batch.inputs)
            logits = outputs @ self.network.item_embedding.weight.T
        # Row 0 is no item and no target; it stays among the logits, where it does no harm.
        loss = F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=0)
        self._adam.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._adam.param_groups[0]["lr"] = self._recipe.learning_rate * self._rate(self._numbers["step"])
        self._adam.step()
        self._numbers["step"] += 1
        return loss.detach()

    def _validate(self) -> dict[str, Any]:
        numbers = self._numbers
        ndcg = leave_one_out(self.network, self._data.without_last(1)).metrics()["ndcg@10"]
        numbers["stale"] += 1
        if ndcg > numbers["best"]:
            numbers.update(best=ndcg, best_epoch=numbers["epoch"], stale=0)
            self._best = _copy(self.network)
        self._save()
        return {"validation_ndcg@10": ndcg, "best": numbers["best"]}

    def _rate(self, step: int) -> float:
        warmup = min(self._recipe.warmup_steps, self.steps // 10)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1, self.steps - warmup)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    def _save(self) -> None:
        tensors = {f"model.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for index, state in self._adam.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        save_checkpoint(self._folder, Checkpoint(self._numbers, tensors))

    def _resume(self) -> None:
        found = load_checkpoint(self._folder, self._numbers["run"], self._device)
        if found is None:
            return
        self._numbers = found.numbers
        self.network.load_state_dict(_under("model.", found.tensors))
        self._best = _under("best.", found.tensors)
        adam: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("adam.", found.tensors).items():
            index, entry = name.split(".")
            adam.setdefault(int(index), {})[entry] = tensor
        self._adam.load_state_dict({"state": adam, "param_groups": self._adam.state_dict()["param_groups"]})


def _copy(network: RecBLR) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
