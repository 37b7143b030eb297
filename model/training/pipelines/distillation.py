"""Teachers: several models, wider where the data allows, whose mean one student of the usual size learns.

The mean of many predicts better than each of them, and a student learns most of that from what they expect of every
event (Hinton et al. 2015). Training takes several times as long, serving costs what it did.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from model.config import ModelConfig
from model.network import RecBLR
from model.training.data.interactions import Interactions
from model.training.errors import DataError
from model.training.trainer.distributed import Crew
from model.training.trainer.hyperparameters import Hyperparameters, hyperparameters_for, teacher_width
from model.training.trainer.progress import open_epoch_log
from model.training.trainer.soft_targets import SoftTargets, prepare_soft_targets
from model.training.trainer.trainer import ALONE, Trainer


def learn_from_teachers(
    data: Interactions,
    config: ModelConfig,
    hyperparameters: Hyperparameters,
    folder: Path,
    device: torch.device,
    crew: Crew = ALONE,
    *,
    final: bool = False,
) -> SoftTargets | None:
    """The lesson of the recipe's teachers for a student of `config`, None without teachers; resumes in `folder`.

    As in `Trainer`, each user's last two events are held out, from the teachers too; for a final fit nothing is.
    Raises `DataError`.
    """
    if not hyperparameters.teachers:
        return None
    if len(data.item_ids) > hyperparameters.full_softmax:
        raise DataError(
            f"teachers need the full softmax, and {len(data.item_ids):,} items are more than --full-softmax "
            f"{hyperparameters.full_softmax}; train with --teachers 0"
        )
    size = len(data.user_ids), len(data.item_ids), len(data.rows)
    wide = replace(config, dim=teacher_width(config.dim, *size))
    likewise = hyperparameters_for(*size, {"full_softmax": hyperparameters.full_softmax}, "teacher")
    # Who asks for few epochs is in a hurry.
    likewise = replace(likewise, epochs=min(likewise.epochs, hyperparameters.epochs))
    teachers = []
    for n in range(1, hyperparameters.teachers + 1):
        one = replace(likewise, seed=1000 * hyperparameters.seed + n)
        task = f"teacher {n} of {hyperparameters.teachers} on {device}: width {wide.dim}, {one.epochs} epochs"
        teachers.append(_train(data, wide, one, folder / "teachers" / str(n), device, crew, task, final))
    return prepare_soft_targets(teachers, data if final else data.without_last(2), hyperparameters.temperature)


def _train(
    data: Interactions,
    config: ModelConfig,
    hyperparameters: Hyperparameters,
    folder: Path,
    device: torch.device,
    crew: Crew,
    task: str,
    final: bool,
) -> RecBLR:
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        data, config, hyperparameters, folder, device, crew, refit_epochs=hyperparameters.epochs if final else 0
    )
    with open_epoch_log(folder, hyperparameters.epochs, task, enabled=crew.rank == 0) as log:
        return trainer.run(log).network
