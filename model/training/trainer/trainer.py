"""The trainer: windows with the loss at every position, full softmax, early stopping on validation NDCG@10."""

from __future__ import annotations

import math
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network import RecBLR
from model.training.data.interactions import Interactions
from model.training.errors import DataError
from model.training.evaluation.leave_one_out import leave_one_out
from model.training.trainer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.training.trainer.distributed import Crew
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.progress import ReportEpoch
from model.training.trainer.sequence_packing import Windows
from model.training.trainer.soft_targets import SoftTargets
from model.training.trainer.train_step import TrainStep, negatives_of

ALONE = Crew()
# How often a run that diverges begins again, each time at half the learning rate.
_MOST_HALVINGS = 3


@dataclass(frozen=True, slots=True)
class Trained:
    """The network with its best weights, and what the run measured. `seconds` is time spent on training steps.

    A final fit has the weights of its end, and no metrics.
    """

    network: RecBLR
    metrics: dict[str, float]
    best_epoch: int
    seconds: float


class Trainer:
    """One run over `data`, whose last event of each user is the test and last but one the validation target.

    With `refit_epochs` it is a final fit: nothing is held out or validated, and the run ends after so many epochs of
    the recipe's schedule, the ones that were best where validation was possible. A `lesson` is about what is trained
    on: `data` without the last two events of each user, in a final fit all of it.
    """

    def __init__(
        self,
        data: Interactions,
        config: ModelConfig,
        hyperparameters: Hyperparameters,
        folder: Path,
        device: torch.device,
        crew: Crew = ALONE,
        refit_epochs: int = 0,
        soft_targets: SoftTargets | None = None,
    ) -> None:
        if int(data.lengths.max(initial=0)) < 3:
            raise DataError("no user has 3 events: one to learn from, one to validate and one to test")
        if hyperparameters.batch < crew.size:
            raise DataError(
                f"a batch of {hyperparameters.batch} rows cannot be shared by {crew.size} processes; give more"
            )
        torch.manual_seed(hyperparameters.seed)
        self._crew = crew
        self._data = data
        self._hyperparameters = hyperparameters
        self._folder = folder
        self._device = device
        self._validates = not refit_epochs
        self._last_epoch = refit_epochs or hyperparameters.epochs
        self.network = RecBLR(config, hyperparameters.dropout, hyperparameters.embedding_dropout).to(device)
        past = data.without_last(2) if self._validates else data
        self._validation = data.without_last(1)
        self._windows = Windows(
            past, hyperparameters.window, hyperparameters.batch, config.start_token, device, hyperparameters.balance
        )
        self.steps = hyperparameters.epochs * self._windows.steps_per_epoch
        self._step = TrainStep(self.network, device, crew, negatives_of(hyperparameters, past, device), soft_targets)
        self._numbers: dict[str, Any] = {
            "run": identity(data, config, hyperparameters) | {"refit_epochs": refit_epochs},
            "epoch": 0,
            "step": 0,
            "best": -1.0,
            "best_epoch": 0,
            "stale": 0,
            "seconds": 0.0,
            "halvings": 0,
        }
        self._initial = _copy(self.network)
        self._best = self._initial

    def run(self, report: ReportEpoch) -> Trained:
        """Train to the end, or until validation has stopped improving; resumes a run that was cut off.

        `report` receives one flat dictionary an epoch. If the loss is no longer a number, training begins again at
        half the learning rate; `DataError` when that has not helped 3 times.
        """
        self._resume()
        numbers, hyperparameters = self._numbers, self._hyperparameters
        while numbers["epoch"] < self._last_epoch and numbers["stale"] < hyperparameters.patience:
            numbers["epoch"] += 1
            line = self._epoch(numbers["epoch"])
            if not math.isfinite(line["loss"]):
                report(self._begin_again(numbers["epoch"]))
                continue
            if numbers["epoch"] % hyperparameters.evaluate_every == 0 or numbers["epoch"] == self._last_epoch:
                line |= self._validate() if self._validates else {}
                if self._crew.rank == 0:
                    self._save()
            report(line)
        if not self._validates:
            return Trained(self.network, {}, numbers["epoch"], numbers["seconds"])
        self.network.load_state_dict(self._best)
        metrics = leave_one_out(self.network, self._data).metrics()
        metrics["validation_ndcg@10"] = numbers["best"]
        return Trained(self.network, metrics, numbers["best_epoch"], numbers["seconds"])

    def _epoch(self, epoch: int) -> dict[str, Any]:
        # Seeded by the epoch, so that a resumed run draws what the whole one would have drawn.
        seed = self._hyperparameters.seed * 1_000_003 + epoch
        torch.manual_seed(seed + 500_009 * self._crew.rank)
        generator = torch.Generator(self._device).manual_seed(seed)
        started = time.perf_counter()
        self.network.train()
        losses = []
        for batch in self._windows.epoch(generator):
            losses.append(self._step(batch, self._peak() * self._rate(self._numbers["step"])))
            self._numbers["step"] += 1
        mean = torch.stack(losses).mean()
        self._crew.sum([mean])
        loss = float(mean)  # waits for the device
        seconds = time.perf_counter() - started
        self._numbers["seconds"] += seconds
        return {"epoch": epoch, "loss": loss, "seconds": seconds, "events": self._windows.targets}

    def _begin_again(self, epoch: int) -> dict[str, Any]:
        """Back to the first weights with half the learning rate; the line that says so."""
        numbers = self._numbers
        if numbers["halvings"] == _MOST_HALVINGS:
            raise DataError(
                f"the loss is not finite in epoch {epoch}, at a learning rate of {self._peak():.3g}; "
                "give a smaller --learning-rate"
            )
        numbers.update(epoch=0, step=0, best=-1.0, best_epoch=0, stale=0, halvings=numbers["halvings"] + 1)
        self.network.load_state_dict(self._initial)
        self._best = self._initial
        self._step.forget()
        return {"epoch": epoch, "diverged": True, "learning_rate": self._peak()}

    def _peak(self) -> float:
        return float(self._hyperparameters.learning_rate * 0.5 ** self._numbers["halvings"])

    def _validate(self) -> dict[str, Any]:
        numbers = self._numbers
        ndcg = leave_one_out(self.network, self._validation).metrics()["ndcg@10"]
        ndcg = self._crew.agree(ndcg, self._device)  # rounding may differ, decisions must not
        numbers["stale"] += 1
        if ndcg > numbers["best"]:
            numbers.update(best=ndcg, best_epoch=numbers["epoch"], stale=0)
            self._best = _copy(self.network)
        return {"validation_ndcg@10": ndcg, "best": numbers["best"]}

    def _rate(self, step: int) -> float:
        warmup = min(self._hyperparameters.warmup_steps, self.steps // 10)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1, self.steps - warmup)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    def _save(self) -> None:
        tensors = {f"model.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        tensors |= {f"adam.{name}": value for name, value in self._step.adam_state().items()}
        save_checkpoint(self._folder, Checkpoint(self._numbers, tensors))

    def _resume(self) -> None:
        found = load_checkpoint(self._folder, self._numbers["run"], self._device)
        if found is None:
            return
        self._numbers = found.numbers
        self.network.load_state_dict(_under("model.", found.tensors))
        self._best = _under("best.", found.tensors)
        self._step.load_adam_state(_under("adam.", found.tensors))


def identity(data: Interactions, config: ModelConfig, hyperparameters: Hyperparameters) -> dict[str, Any]:
    """What makes two runs the same run, ready for JSON."""
    crc32 = zlib.crc32(data.offsets.data, zlib.crc32(data.rows.data))
    return {
        "config": config.to_dict(),
        "recipe": hyperparameters.to_dict(),
        "data": data.summary() | {"crc32": crc32},
    }


def _copy(network: RecBLR) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
