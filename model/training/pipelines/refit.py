"""Refit: train once more on all events (decision 0023).

The candidate was measured on the newest events, so it could not be trained on them.
"""

from __future__ import annotations

from model.network import RecBLR
from model.training.pipelines.distillation import train_teachers
from model.training.trainer.progress import open_epoch_log
from model.training.trainer.trainer import Trainer
from model.training.trainer.training_run import TrainingRun


def refit(run: TrainingRun, epochs: int) -> RecBLR:
    """Train a new network on all events of a run.

    An interrupted refit is resumed in the run's folder. The network is trained on every event, so no event is left
    to measure it. Its metrics are those of the candidate.

    Args:
        run: data, model and hyperparameters of the candidate. Its teachers are trained again too.
        epochs: epochs of the learning-rate schedule to run: those of the candidate's best validation.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    soft_targets = train_teachers(run, is_refit=True)
    trainer = Trainer(run, refit_epochs=epochs, soft_targets=soft_targets)
    title = f"refit on {run.device}: all {len(run.data.rows):,} events, {epochs} epochs"
    with open_epoch_log(run.folder, epochs, title, enabled=run.processes.is_first) as report:
        return trainer.run(report).network
