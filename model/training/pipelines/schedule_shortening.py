"""Train on the schedule and weight decay that the data need.

The best weights of a run whose validation stops improving early were reached at a high learning rate. A schedule that
ends soon after that epoch reaches better ones (decision 0122). Such data also have too few events for the size of the
item table, whose weight decay is therefore tried (decision 0134).
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
# An entry of the table settles below 1 / decay. The steps' number and the learning rate do not change that.
_TABLE_DECAY = 3.0


def train_on_schedule(run: TrainingRun, title: str, soft_targets: SoftTargets | None = None) -> TrainingResult:
    """Train; if validation was best early, train again on a shorter schedule.

    That is done twice, without and with a weight decay of the item table, unless the hyperparameters have one.
    Returns the result with the best validation. Interrupted runs are resumed in the run's folder, the others in its
    subfolders `shorter` and `decayed`.

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
    results = [
        result,
        _train(replace(run, hyperparameters=shorter, folder=run.folder / "shorter"), again, soft_targets),
    ]
    if not shorter.table_decay:
        decayed = replace(shorter, table_decay=_TABLE_DECAY)
        title = f"{again}, with a weight decay of {_TABLE_DECAY:g} of the item table"
        results.append(
            _train(replace(run, hyperparameters=decayed, folder=run.folder / "decayed"), title, soft_targets)
        )
    return max(results, key=lambda each: each.metrics["validation_ndcg@10"])


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
