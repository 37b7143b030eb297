"""Choose hyperparameters by the size of the data set (decision 0021).

Two data sets have been searched: Amazon Beauty has short histories and is sparse (decisions 0044 and 0075),
MovieLens-1M has long ones and is dense (decisions 0043, 0073 and 0074). They get the hyperparameters that measured
best. For other data each number is interpolated between the two; beyond either end it stays at that end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from model.training.data.data_size import DataSize
from model.training.trainer.hyperparameters import Hyperparameters

# A model trained by itself, one of several teachers, or a student distilled from teachers.
Role = Literal["alone", "teacher", "student"]

# Hyperparameters that depend on the data; the others have the same default for all data.
CHOSEN_BY_DATA = frozenset(
    [
        "window",
        "batch",
        "epochs",
        "learning_rate",
        "dropout",
        "embedding_dropout",
        "balance",
        "temperature",
        "evaluate_every",
    ]
)
# Bounds on time: about two minutes on one H200, unless three epochs take longer.
_MAX_STEPS = 40_000
_MIN_EPOCHS = 3
_MIN_STEP_EVENTS = 1_024
_VALIDATIONS: Mapping[Role, int] = {"alone": 20, "teacher": 4, "student": 20}
_DEFAULT_TEACHERS = 12
_MAX_EVENTS_WITH_TEACHERS = 5_000_000


@dataclass(frozen=True, slots=True)
class _SearchedDataset:
    size: DataSize
    best: Mapping[Role, Hyperparameters]

    @property
    def step_events(self) -> int:
        return self.best["alone"].batch * self.best["alone"].window


_BEAUTY = _SearchedDataset(
    DataSize(users=22_363, items=12_101, events=198_502),
    {
        "alone": Hyperparameters(window=64, batch=64, epochs=60, dropout=0.5, embedding_dropout=0.5),
        "teacher": Hyperparameters(window=64, batch=64, epochs=60, dropout=0.5, embedding_dropout=0.5),
        "student": Hyperparameters(window=64, batch=64, epochs=100, dropout=0.3, embedding_dropout=0.3),
    },
)
_MOVIELENS_1M = _SearchedDataset(
    DataSize(users=6_040, items=3_416, events=999_611),
    {
        "alone": Hyperparameters(),
        # At twice the student's width: see `teacher_width`.
        "teacher": Hyperparameters(epochs=200, dropout=0.3, embedding_dropout=0.3, learning_rate=8e-3),
        "student": Hyperparameters(window=400, dropout=0.0, embedding_dropout=0.1, balance=0.5, temperature=0.8),
    },
)


def choose_hyperparameters(
    size: DataSize, given: Mapping[str, Any] | None = None, role: Role | None = None
) -> Hyperparameters:
    """Choose the hyperparameters for data of this size.

    The window follows the mean history. Dropout, learning rate, balance, temperature and epochs follow the density,
    since embeddings with few events need more regularisation. The batch follows the number of events, so that small
    data get as many steps per epoch as large data. Too many epochs cost time and no accuracy: training stops when
    validation no longer improves, and the best weights are kept.

    Args:
        size: size of the data.
        given: numbers that are set by the user and therefore not chosen, by name.
        role: None means a student if `given` has teachers, else a model trained alone.

    Raises:
        DataError: a given number is outside its range.
    """
    given = given or {}
    fixed = replace(Hyperparameters(), **given)
    role = role or ("student" if fixed.teachers else "alone")
    sparse, dense = _BEAUTY.best[role], _MOVIELENS_1M.best[role]
    density = _density_fraction(size)
    history = _log_fraction(size.mean_history, _BEAUTY.size.mean_history, _MOVIELENS_1M.size.mean_history)
    window = given.get("window", round(_geometric(sparse.window, dense.window, history)))
    batch = given.get("batch", max(1, round(_step_events(size.events) / window)))
    epochs = given.get("epochs", round(_geometric(sparse.epochs, dense.epochs, density)))
    if "epochs" not in given:
        steps_per_epoch = math.ceil(size.events / (batch * window))
        epochs = min(epochs, max(_MIN_EPOCHS, _MAX_STEPS // steps_per_epoch))
    chosen = {
        "window": window,
        "batch": batch,
        "epochs": epochs,
        "learning_rate": float(f"{_geometric(sparse.learning_rate, dense.learning_rate, density):.3g}"),
        "dropout": _linear(sparse.dropout, dense.dropout, density),
        "embedding_dropout": _linear(sparse.embedding_dropout, dense.embedding_dropout, density),
        "balance": _linear(sparse.balance, dense.balance, density),
        "temperature": _linear(sparse.temperature, dense.temperature, density),
        "evaluate_every": max(1, epochs // _VALIDATIONS[role]),
    }
    return replace(fixed, **{name: value for name, value in chosen.items() if name not in given})


def default_teachers(size: DataSize, on_gpu: bool) -> int:
    """Return the default number of teachers.

    There are none on a CPU, where they would take hours, and none if their soft targets would not fit.
    """
    fits = size.events <= _MAX_EVENTS_WITH_TEACHERS and size.items <= Hyperparameters().full_softmax
    return _DEFAULT_TEACHERS if on_gpu and fits else 0


def teacher_width(dim: int, size: DataSize) -> int:
    """Return the width of the teachers: twice `dim` for dense data."""
    return 2 * dim if _density_fraction(size) > 0.5 else dim


def _step_events(events: int) -> float:
    """Return the number of events per step.

    Below the size of Beauty it shrinks in proportion to the data.
    """
    fraction = _log_fraction(events, _BEAUTY.size.events, _MOVIELENS_1M.size.events)
    interpolated = _geometric(_BEAUTY.step_events, _MOVIELENS_1M.step_events, fraction)
    return max(_MIN_STEP_EVENTS, interpolated * min(1.0, events / _BEAUTY.size.events))


def _density_fraction(size: DataSize) -> float:
    return _log_fraction(size.density, _BEAUTY.size.density, _MOVIELENS_1M.size.density)


def _log_fraction(value: float, low: float, high: float) -> float:
    """Return 0 up to `low`, 1 from `high`, logarithmic in between."""
    return min(1.0, max(0.0, math.log(value / low) / math.log(high / low)))


def _linear(low: float, high: float, fraction: float) -> float:
    return round(low + (high - low) * fraction, 2)


def _geometric(low: float, high: float, fraction: float) -> float:
    return float(low ** (1.0 - fraction) * high**fraction)
