"""The final fit: what is published may learn from the events that the recipe was judged on, the newest of all."""

from __future__ import annotations

from pathlib import Path

import torch

from model.config import ModelConfig
from model.network import RecBLR
from model.training.data.interactions import Interactions
from model.training.pipelines.distillation import learn_from_teachers
from model.training.trainer.distributed import Crew
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.progress import open_epoch_log
from model.training.trainer.trainer import ALONE, Trainer


def refit(
    data: Interactions,
    config: ModelConfig,
    hyperparameters: Hyperparameters,
    epochs: int,
    folder: Path,
    device: torch.device,
    crew: Crew = ALONE,
) -> RecBLR:
    """A network trained anew on all of `data`, for the first `epochs` of the recipe's schedule; resumes in `folder`.

    `epochs` are the ones that validated best where events were held out. Nothing of this network can be measured, for
    it has seen everything: its recipe's figures stand for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    opening = f"final fit on {device}: all {len(data.rows):,} events, {epochs} epochs"
    soft_targets = learn_from_teachers(data, config, hyperparameters, folder, device, crew, final=True)
    trainer = Trainer(data, config, hyperparameters, folder, device, crew, epochs, soft_targets)
    with open_epoch_log(folder, epochs, opening, enabled=crew.rank == 0) as log:
        return trainer.run(log).network
