"""Knowledge distillation: train teachers and compute their soft targets.

The mean of several models predicts better than each of them, and a student learns most of that from the
distributions they predict (Hinton et al. 2015). Training takes several times as long; serving costs the same.
"""

from __future__ import annotations

from dataclasses import replace

from ingest.errors import DataError
from model.network import RecBLR
from model.training.pipelines.schedule_shortening import train_on_schedule
from model.training.trainer.hyperparameter_choice import choose_hyperparameters, teacher_width
from model.training.trainer.progress import open_epoch_log
from model.training.trainer.soft_targets import SoftTargets, compute_soft_targets
from model.training.trainer.trainer import Trainer
from model.training.trainer.training_run import TrainingRun


def train_teachers(student: TrainingRun, *, is_refit: bool = False) -> SoftTargets | None:
    """Train the teachers of a student and compute their soft targets.

    Each teacher has a folder of its own below `teachers/` in the student's folder, and resumes there.

    Args:
        student: the run of the student.
        is_refit: train on all events; otherwise each user's last two events are held out, as in `Trainer`.

    Returns:
        The soft targets of the events that the student trains on; None if its run has no teachers.

    Raises:
        DataError: the catalogue is too large for the full softmax, or the device for the soft targets.
    """
    hyperparameters, data = student.hyperparameters, student.data
    if not hyperparameters.teachers:
        return None
    if len(data.item_ids) > hyperparameters.full_softmax:
        raise DataError(
            f"teachers need the full softmax, and {len(data.item_ids):,} items are more than --full-softmax "
            f"{hyperparameters.full_softmax}; train with --teachers 0"
        )
    config = replace(student.config, dim=teacher_width(student.config.dim, data.size))
    chosen = choose_hyperparameters(data.size, {"full_softmax": hyperparameters.full_softmax}, "teacher")
    # A student with few epochs is meant to be ready soon.
    chosen = replace(chosen, epochs=min(chosen.epochs, hyperparameters.epochs))
    teachers = []
    for number in range(1, hyperparameters.teachers + 1):
        own = replace(chosen, seed=1000 * hyperparameters.seed + number)
        folder = student.folder / "teachers" / str(number)
        run = replace(student, config=config, hyperparameters=own, folder=folder)
        title = (
            f"teacher {number} of {hyperparameters.teachers} on {run.device}: width {config.dim}, {own.epochs} epochs"
        )
        teachers.append(_refit_teacher(run, title) if is_refit else train_on_schedule(run, title).network)
    return compute_soft_targets(teachers, data if is_refit else data.without_last(2), hyperparameters.temperature)


def _refit_teacher(run: TrainingRun, title: str) -> RecBLR:
    run.folder.mkdir(parents=True, exist_ok=True)
    epochs = run.hyperparameters.epochs
    trainer = Trainer(run, refit_epochs=epochs)
    with open_epoch_log(run.folder, epochs, title, enabled=run.processes.is_first) as report:
        return trainer.run(report).network
