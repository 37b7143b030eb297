"""Train a candidate: the steps that `train` and `retrain` share."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.content.item_content import ItemContent
from model.network import RecBLR
from model.training.content.encoder_fit import TrainedContent, fit_encoder
from model.training.data.interactions import Interactions
from model.training.pipelines.distillation import train_teachers
from model.training.pipelines.schedule_shortening import train_on_schedule
from model.training.publishing.bundle_writer import write_network_bundle
from model.training.trainer.hyperparameter_choice import choose_hyperparameters, default_teachers
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.trainer import TrainingResult
from model.training.trainer.training_run import TrainingRun


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Size of a model, and hyperparameters that the user gives.

    The data choose the other hyperparameters.

    Attributes:
        dim: model width D.
        layers: number of layers L.
        given: hyperparameters by name.
    """

    dim: int
    layers: int
    given: Mapping[str, Any]


def choose_model(
    settings: ModelSettings, data: Interactions, device: torch.device
) -> tuple[ModelConfig, Hyperparameters]:
    """Choose the model and the hyperparameters for a data set."""
    types = 0 if data.types is None else len(data.types.rules)
    config = ModelConfig(items=len(data.item_ids), dim=settings.dim, layers=settings.layers, event_types=types)
    teachers = default_teachers(data.size, on_gpu=device.type == "cuda")
    return config, choose_hyperparameters(data.size, {"teachers": teachers} | dict(settings.given))


def train_candidate(run: TrainingRun) -> TrainingResult:
    """Train, validate and test a model, after its teachers if any.

    An interrupted run is resumed in its folder. The result's run can have a shorter schedule than `run`.
    """
    soft_targets = train_teachers(run)
    users, items, events = run.data.size
    title = (
        f"training on {run.device}: {events:,} events of {users:,} users, {items:,} items, "
        f"at most {run.hyperparameters.epochs} epochs"
    )
    return train_on_schedule(run, title, soft_targets)


def train_content(
    run: TrainingRun,
    network: RecBLR,
    contents: Mapping[str, ItemContent] | None,
    earlier: TrainedContent | None = None,
) -> TrainedContent | None:
    """Fit the encoder of a network; None without content.

    Args:
        run: the run of the network.
        network: the trained network.
        contents: content by item id.
        earlier: that of the candidate, for a network that was trained on all events.

    Raises:
        DataError: too few items have content.
    """
    if contents is None:
        return None
    settings = None if earlier is None else earlier.fitted.settings
    return TrainedContent(contents, fit_encoder(network, run.data, contents, settings))


def write_run_bundle(
    run: TrainingRun,
    network: RecBLR,
    metrics: Mapping[str, float],
    origin: Mapping[str, Any],
    content: TrainedContent | None = None,
) -> Bundle:
    """Write the bundle of a run into its folder, and return it.

    Args:
        run: the run.
        network: the network to put into the bundle.
        metrics: metrics for the manifest.
        origin: further facts about the training for the manifest.
        content: content of the items, and the network's encoder.
    """
    folder = bundle_folder(run)
    shutil.rmtree(folder, ignore_errors=True)  # left by this very run, if it was killed before it was finished
    facts = {"hyperparameters": run.hyperparameters.to_dict()} | dict(origin)
    return write_network_bundle(folder, network, run.data, metrics, facts, content)


def bundle_folder(run: TrainingRun) -> Path:
    """Return the folder of the run's bundle."""
    return run.folder / "bundle"
