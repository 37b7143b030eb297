"""How to train: the numbers of one run, and which ones suit a data set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from model.training.errors import DataError


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """One run's settings; raises `DataError` for those that no run can have.

    The defaults measured best on MovieLens-1M: see decision 0015. `recipe_for` chooses for other data.

    window         steps in a training row
    batch          rows in an optimisation step
    epochs         passes over the data; the cosine schedule ends at the last
    learning_rate  Adam's, at the end of the warm-up
    warmup_steps   steps of linear warm-up
    dropout        probability within the layers
    embedding_dropout  probability for what an embedding holds, before the first layer
    balance        0: every event counts the same; 1: every user does; between: an event of n counts n^-balance
    teachers       models trained first, whose expectations this one learns too; it serves at the same cost
    temperature    divides the teachers' scores: below 1 what they hold likely becomes likelier
    full_softmax   largest catalogue for which the loss is over all items; above it negatives are sampled
    negatives      sampled in a step, half of them among the batch's own targets, half among all items
    evaluate_every epochs between validations (NDCG@10 on the last but one event)
    patience       validations without a better one before the run stops
    seed           of weights, windows and dropout
    """

    window: int = 200
    batch: int = 184
    epochs: int = 400
    learning_rate: float = 1.6e-2
    warmup_steps: int = 200
    dropout: float = 0.2
    embedding_dropout: float = 0.2
    balance: float = 0.0
    teachers: int = 0
    temperature: float = 1.0
    full_softmax: int = 100_000
    negatives: int = 8_191  # with the target's column a power of two
    evaluate_every: int = 20
    patience: int = 6
    seed: int = 1

    def __post_init__(self) -> None:
        fewest = {
            "window": 1,
            "batch": 1,
            "epochs": 1,
            "warmup_steps": 0,
            "teachers": 0,
            "full_softmax": 0,
            "negatives": 2,
            "evaluate_every": 1,
            "patience": 1,
            "seed": 0,
        }
        for name, low in fewest.items():
            if (value := getattr(self, name)) < low:
                raise DataError(f"{name} must be a whole number from {low}, not {value}")
        for name in ("learning_rate", "temperature"):
            if not ((value := getattr(self, name)) > 0.0 and math.isfinite(value)):
                raise DataError(f"{name} must be a number above 0, not {value}")
        for name in ("dropout", "embedding_dropout"):
            if not 0.0 <= (value := getattr(self, name)) < 1.0:
                raise DataError(f"{name} must be at least 0 and below 1, not {value}")
        if not 0.0 <= self.balance <= 1.0:
            raise DataError(f"balance must be from 0 to 1, not {self.balance}")

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


# What a run is for: a model of its own, one of several teachers, or a student of theirs.
Role = Literal["alone", "teacher", "student"]


@dataclass(frozen=True, slots=True)
class _Known:
    """A data set whose recipes were searched."""

    users: int
    items: int
    events: int
    hyperparameters_list: Mapping[Role, Hyperparameters]

    @property
    def density(self) -> float:
        return _density(self.users, self.items, self.events)

    @property
    def history(self) -> float:
        return self.events / self.users

    @property
    def step_events(self) -> int:
        return self.hyperparameters_list["alone"].batch * self.hyperparameters_list["alone"].window


# What `recipe_for` chooses; the other numbers are the same for all data.
CHOSEN = frozenset(
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
_SPARSE = _Known(  # Amazon Beauty
    users=22_363,
    items=12_101,
    events=198_502,
    hyperparameters_list={
        "alone": Hyperparameters(window=64, batch=64, epochs=60, dropout=0.5, embedding_dropout=0.5),
        "teacher": Hyperparameters(window=64, batch=64, epochs=60, dropout=0.5, embedding_dropout=0.5),
        "student": Hyperparameters(window=64, batch=64, epochs=100, dropout=0.3, embedding_dropout=0.3),
    },
)
_DENSE = _Known(  # MovieLens-1M
    users=6_040,
    items=3_416,
    events=999_611,
    hyperparameters_list={
        "alone": Hyperparameters(),
        "teacher": Hyperparameters(
            epochs=200, dropout=0.3, embedding_dropout=0.3, learning_rate=8e-3
        ),  # at twice the width
        "student": Hyperparameters(window=400, dropout=0.0, embedding_dropout=0.1, balance=0.5, temperature=0.8),
    },
)
# Bounds on time: about two minutes of one H200 whatever the data, if they can be read a few times in that.
_MOST_STEPS, _FEWEST_EPOCHS = 40_000, 3
_FEWEST_STEP_EVENTS = 1_024
_VALIDATIONS: Mapping[Role, int] = {"alone": 20, "teacher": 4, "student": 20}
# Teachers of a run that says nothing of them, on a GPU, if their expectations and their time are affordable.
_TEACHERS, _MOST_TAUGHT_EVENTS = 12, 5_000_000


def hyperparameters_for(
    users: int, items: int, events: int, given: Mapping[str, Any] | None = None, role: Role | None = None
) -> Hyperparameters:
    """The recipe for a data set of this size, with the numbers that are `given`; raises `DataError` for these.

    Between Amazon Beauty (short, sparse) and MovieLens-1M (long, dense), whose own recipes it returns, each number is
    interpolated on a logarithmic scale; beyond either it stays that one's:

    window         by mean history, events / users
    dropout        by density, events / sqrt(users * items): the geometric mean of a user's and of an item's events;
                   the fewer there are to learn an embedding from, the more
    learning_rate  by density
    epochs         by density, but no more than make 40,000 steps (3 at least)
    batch          so that a step has the right number of events: that grows with the data, which gives small data
                   as many steps an epoch as large
    embedding_dropout, balance, temperature
                   by density

    Without a `role`, a run whose `given` numbers name teachers is their student.
    A run is validated 20 times (a teacher 4 times) and ends after `patience` of them without a better one; the best
    weights count. So too many epochs cost time and no accuracy.
    """
    given = given or {}
    fixed = replace(Hyperparameters(), **given)
    dense = _place(_density(users, items, events), _SPARSE.density, _DENSE.density)
    role = role or ("student" if fixed.teachers else "alone")
    sparse_recipe, dense_recipe = _SPARSE.hyperparameters_list[role], _DENSE.hyperparameters_list[role]
    by_history = _place(events / users, _SPARSE.history, _DENSE.history)
    window = given.get("window", round(_mix(sparse_recipe.window, dense_recipe.window, by_history)))
    batch = given.get("batch", max(1, round(_step_events(events) / window)))
    epochs = given.get("epochs", round(_mix(sparse_recipe.epochs, dense_recipe.epochs, dense)))
    if "epochs" not in given:
        steps = math.ceil(events / (batch * window))
        epochs = min(epochs, max(_FEWEST_EPOCHS, _MOST_STEPS // steps))
    chosen = {
        "window": window,
        "batch": batch,
        "epochs": epochs,
        "learning_rate": float(f"{_mix(sparse_recipe.learning_rate, dense_recipe.learning_rate, dense):.3g}"),
        "dropout": _between(sparse_recipe.dropout, dense_recipe.dropout, dense),
        "embedding_dropout": _between(sparse_recipe.embedding_dropout, dense_recipe.embedding_dropout, dense),
        "balance": _between(sparse_recipe.balance, dense_recipe.balance, dense),
        "temperature": _between(sparse_recipe.temperature, dense_recipe.temperature, dense),
        "evaluate_every": max(1, epochs // _VALIDATIONS[role]),
    }
    return replace(fixed, **{name: value for name, value in chosen.items() if name not in given})


def teachers_for(items: int, events: int, on_gpu: bool) -> int:
    """How many teachers a run has that says nothing of them: none on a CPU, where they would take hours."""
    affordable = on_gpu and events <= _MOST_TAUGHT_EVENTS and items <= Hyperparameters().full_softmax
    return _TEACHERS if affordable else 0


def teacher_width(dim: int, users: int, items: int, events: int) -> int:
    """The width of a student's teachers: twice its own where there is data to fill it, measured on both data sets."""
    dense = _place(_density(users, items, events), _SPARSE.density, _DENSE.density)
    return 2 * dim if dense > 0.5 else dim


def _density(users: int, items: int, events: int) -> float:
    return events / math.sqrt(users * items)


def _place(value: float, low: float, high: float) -> float:
    """0 at `low` and below, 1 at `high` and above, on a logarithmic scale between."""
    return min(1.0, max(0.0, math.log(value / low) / math.log(high / low)))


def _between(low: float, high: float, place: float) -> float:
    return round(low + (high - low) * place, 2)


def _mix(low: float, high: float, place: float) -> float:
    return float(low ** (1.0 - place) * high**place)


def _step_events(events: int) -> float:
    """Events in a step; below the smaller data set in proportion to the data."""
    between = _mix(_SPARSE.step_events, _DENSE.step_events, _place(events, _SPARSE.events, _DENSE.events))
    return max(_FEWEST_STEP_EVENTS, between * min(1.0, events / _SPARSE.events))
