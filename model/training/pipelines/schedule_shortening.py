"""Train on the learning-rate schedule that the data need.

The best weights of a run whose validation stops improving early were reached at a high learning rate. A schedule that
ends soon after that epoch reaches better ones (decision 0122).
"""

from __future__ import annotations

from dataclasses import replace

from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.progress import open_epoch_log
from model.training.trainer.soft_targets import SoftTargets
from model.training.trainer.trainer import Trainer, TrainingResult
from model.training.trainer.training_run import TrainingRun

# Validation was best in the first third of the schedule; the new schedule is twice as long as that.
_EARLY_FRACTION = 1 / 3
_EPOCHS_OF_BEST = 2
_MIN_EPOCHS = 3
_VALIDATIONS = 20


def train_on_schedule(run: TrainingRun, title: str, soft_targets: SoftTargets | None = None) -> TrainingResult:
    """Train; if validation was best early, train again on a shorter schedule.

    Returns the result with the better validation. Interrupted runs are resumed in the run's folder, the second one
    in its subfolder `shorter`.

    Args:
        run: data, model and hyperparameters.
        title: first line of the progress.
        soft_targets: those of the run's teachers.
    """
    result = _train(run, title, soft_targets)
    shorter = shorter_schedule(run.hyperparameters, result.best_epoch)
    if shorter is None:
        return result
    again = (
        f"validation was best in epoch {result.best_epoch} of {run.hyperparameters.epochs}; training again, "
        f"the learning rate reaches 0 after {shorter.epochs} epochs"
    )
    second = _train(replace(run, hyperparameters=shorter, folder=run.folder / "shorter"), again, soft_targets)
    return max(result, second, key=lambda each: each.metrics["validation_ndcg@10"])


def shorter_schedule(hyperparameters: Hyperparameters, best_epoch: int) -> Hyperparameters | None:
    """Return hyperparameters with fewer epochs if `best_epoch` was early, or None."""
    epochs = max(_MIN_EPOCHS, _EPOCHS_OF_BEST * best_epoch)
    if best_epoch > _EARLY_FRACTION * hyperparameters.epochs or epochs >= hyperparameters.epochs:
        return None
    return replace(hyperparameters, epochs=epochs, evaluate_every=max(1, epochs // _VALIDATIONS))


def _train(run: TrainingRun, title: str, soft_targets: SoftTargets | None) -> TrainingResult:
    run.folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(run, soft_targets=soft_targets)
    with open_epoch_log(run.folder, run.hyperparameters.epochs, title, enabled=run.processes.is_first) as report:
        return trainer.run(report)
