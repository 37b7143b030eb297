"""Train a network: epochs over packed rows, validation, early stopping and checkpoints."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ingest.errors import DataError
from model.network import RecBLR
from model.training.evaluation.leave_one_out import leave_one_out
from model.training.trainer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.training.trainer.learning_rate import schedule_factor
from model.training.trainer.progress import ReportEpoch
from model.training.trainer.sequence_packing import SequencePacker
from model.training.trainer.soft_targets import SoftTargets
from model.training.trainer.train_step import TrainStep, negative_sampler
from model.training.trainer.training_run import TrainingRun

# A diverged training restarts at half the learning rate, at most this often.
_MAX_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Trained network and what its run measured.

    Attributes:
        run: the inputs.
        network: the network with its best weights; after a refit, with its last weights.
        metrics: test metrics and `validation_ndcg@10`; empty after a refit.
        best_epoch: epoch of the best validation; after a refit, the last epoch.
        seconds: time spent in training steps.
    """

    run: TrainingRun
    network: RecBLR
    metrics: dict[str, float]
    best_epoch: int
    seconds: float


class Trainer:
    """Train the network of one run, with leave-one-out validation and test.

    Each user's last event is the test target and the last but one the validation target, as in the paper (Liu et
    al., CIKM 2024). A refit holds nothing out: it runs the first `refit_epochs` of the same learning-rate schedule,
    as many as validated best before, and measures nothing (decision 0023).

    Soft targets belong to what is trained on: the data without the last two events of each user, or all of it in a
    refit.
    """

    def __init__(self, run: TrainingRun, refit_epochs: int = 0, soft_targets: SoftTargets | None = None) -> None:
        hyperparameters = run.hyperparameters
        _check_run(run)
        torch.manual_seed(hyperparameters.seed)
        self._run = run
        self._hyperparameters = hyperparameters
        self._is_refit = bool(refit_epochs)
        self._last_epoch = refit_epochs or hyperparameters.epochs
        self.network = RecBLR(run.config, hyperparameters.dropout, hyperparameters.embedding_dropout).to(run.device)
        training_data = run.data if self._is_refit else run.data.without_last(2)
        self._validation_data = run.data.without_last(1)
        self._packer = SequencePacker(
            training_data,
            hyperparameters.window,
            hyperparameters.batch,
            run.config.start_token,
            run.device,
            hyperparameters.balance,
        )
        self._total_steps = hyperparameters.epochs * self._packer.steps_per_epoch
        negatives = negative_sampler(hyperparameters, training_data, run.device)
        self._step = TrainStep(
            self.network,
            run.device,
            run.processes,
            negatives,
            soft_targets,
            table_decay=hyperparameters.table_decay,
        )
        self._numbers: dict[str, Any] = {
            "run": run.identity() | {"refit_epochs": refit_epochs},
            "epoch": 0,
            "step": 0,
            "best": -1.0,
            "best_epoch": 0,
            "validations_since_best": 0,
            "seconds": 0.0,
            "restarts": 0,
        }
        self._initial_weights = _copy_weights(self.network)
        self._best_weights = self._initial_weights

    def run(self, report: ReportEpoch) -> TrainingResult:
        """Train to the last epoch, or until validation stops improving.

        A run with a checkpoint is resumed.

        Args:
            report: receives the figures of each epoch.

        Raises:
            DataError: the loss is still not finite after three restarts at half the learning rate.
        """
        self._resume()
        numbers, evaluate_every = self._numbers, self._hyperparameters.evaluate_every
        while numbers["epoch"] < self._last_epoch and not self._has_stopped_improving():
            numbers["epoch"] += 1
            figures = self._train_epoch(numbers["epoch"])
            if not math.isfinite(figures["loss"]):
                report(self._restart(numbers["epoch"]))
                continue
            is_checkpoint = numbers["epoch"] == self._last_epoch or numbers["epoch"] % evaluate_every == 0
            if is_checkpoint and not self._is_refit:
                figures |= self._validate()
            report(figures)  # before the checkpoint, so that a killed run has repeated an epoch rather than lost one
            if is_checkpoint and self._run.processes.is_first:
                self._save()
        return self._result()

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        # Seeded by the epoch, so that a resumed run draws the same rows and dropout as an uninterrupted one.
        seed = self._hyperparameters.seed * 1_000_003 + epoch
        torch.manual_seed(seed + 500_009 * self._run.processes.rank)
        generator = torch.Generator(self._run.device).manual_seed(seed)
        started = time.perf_counter()
        self.network.train()
        losses = []
        for batch in self._packer.epoch(generator):
            losses.append(self._step(batch, self._learning_rate(self._numbers["step"])))
            self._numbers["step"] += 1
        mean = torch.stack(losses).mean()
        self._run.processes.all_reduce([mean])
        loss = float(mean)  # waits for the device
        seconds = time.perf_counter() - started
        self._numbers["seconds"] += seconds
        return {"epoch": epoch, "loss": loss, "seconds": seconds, "events": self._packer.targets}

    def _validate(self) -> dict[str, Any]:
        numbers = self._numbers
        ndcg = leave_one_out(self.network, self._validation_data).validation_score()
        # Rounding can differ between processes, but all must stop at the same epoch.
        ndcg = self._run.processes.broadcast(ndcg, self._run.device)
        numbers["validations_since_best"] += 1
        if ndcg > numbers["best"]:
            numbers.update(best=ndcg, best_epoch=numbers["epoch"], validations_since_best=0)
            self._best_weights = _copy_weights(self.network)
        return {"validation_ndcg@10": ndcg, "best": numbers["best"]}

    def _has_stopped_improving(self) -> bool:
        return bool(self._numbers["validations_since_best"] >= self._hyperparameters.patience)

    def _result(self) -> TrainingResult:
        numbers = self._numbers
        if self._is_refit:
            return TrainingResult(self._run, self.network, {}, numbers["epoch"], numbers["seconds"])
        self.network.load_state_dict(self._best_weights)
        metrics = leave_one_out(self.network, self._run.data).metrics()
        metrics["validation_ndcg@10"] = numbers["best"]
        return TrainingResult(self._run, self.network, metrics, numbers["best_epoch"], numbers["seconds"])

    def _restart(self, epoch: int) -> dict[str, Any]:
        """Restart from the initial weights at half the learning rate.

        Returns what to report.
        """
        numbers = self._numbers
        if numbers["restarts"] == _MAX_RESTARTS:
            raise DataError(
                f"the loss is not finite in epoch {epoch} at a learning rate of {self._peak_learning_rate():.3g}; "
                "give a smaller --learning-rate"
            )
        numbers.update(epoch=0, step=0, best=-1.0, best_epoch=0, validations_since_best=0)
        numbers["restarts"] += 1
        self.network.load_state_dict(self._initial_weights)
        self._best_weights = self._initial_weights
        self._step.reset_adam()
        return {"epoch": epoch, "diverged": True, "learning_rate": self._peak_learning_rate()}

    def _learning_rate(self, step: int) -> float:
        warmup_steps = self._hyperparameters.warmup_steps
        return self._peak_learning_rate() * schedule_factor(step, warmup_steps, self._total_steps)

    def _peak_learning_rate(self) -> float:
        return float(self._hyperparameters.learning_rate * 0.5 ** self._numbers["restarts"])

    def _save(self) -> None:
        tensors = {f"model.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best_weights.items()}
        tensors |= {f"adam.{name}": value for name, value in self._step.adam_state().items()}
        save_checkpoint(self._run.folder, Checkpoint(self._numbers, tensors))

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self._run.folder, self._numbers["run"], self._run.device)
        if checkpoint is None:
            return
        self._numbers = checkpoint.numbers
        self.network.load_state_dict(_with_prefix("model.", checkpoint.tensors))
        self._best_weights = _with_prefix("best.", checkpoint.tensors)
        self._step.load_adam_state(_with_prefix("adam.", checkpoint.tensors))


def _check_run(run: TrainingRun) -> None:
    if int(run.data.lengths.max(initial=0)) < 3:
        raise DataError("no user has 3 events: one to train on, one to validate and one to test")
    if run.hyperparameters.batch < run.processes.count:
        raise DataError(
            f"a batch of {run.hyperparameters.batch} rows cannot be shared by {run.processes.count} processes; "
            "give a larger --batch"
        )


def _copy_weights(network: RecBLR) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors whose names begin with the prefix, and remove it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
