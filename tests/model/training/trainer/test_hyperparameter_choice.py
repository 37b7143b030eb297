"""Hyperparameters chosen by the size of the data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import DataError
from model.training.data.data_size import DataSize
from model.training.trainer.hyperparameter_choice import (
    CHOSEN_BY_DATA,
    choose_hyperparameters,
    default_teachers,
    teacher_width,
)
from model.training.trainer.hyperparameters import Hyperparameters

MOVIELENS_1M = DataSize(6_040, 3_416, 999_611)
BEAUTY = DataSize(22_363, 12_101, 198_502)


def test_searched_data_sets_get_their_own_hyperparameters() -> None:
    assert choose_hyperparameters(MOVIELENS_1M) == Hyperparameters()
    sparse = choose_hyperparameters(BEAUTY)
    assert sparse.window == 64
    assert sparse.dropout == 0.5
    assert sparse.epochs == 60


@pytest.mark.parametrize(
    "size",
    [DataSize(20_000, 10_000, 600_000), DataSize(10_000, 6_000, 250_000)],
    ids=["30 events per user", "25 events per user"],
)
def test_data_between_the_searched_sets_get_values_between(size: DataSize) -> None:
    low, high = choose_hyperparameters(BEAUTY), choose_hyperparameters(MOVIELENS_1M)
    between = choose_hyperparameters(size)
    assert low.window < between.window < high.window
    assert low.dropout > between.dropout > high.dropout
    assert low.learning_rate <= between.learning_rate <= high.learning_rate
    assert low.epochs < between.epochs < high.epochs
    assert low.batch * low.window < between.batch * between.window < high.batch * high.window


sizes = st.tuples(st.integers(1, 10**8), st.integers(1, 10**8), st.floats(1, 1e4), st.floats(1, 50))


@given(sizes)
@settings(max_examples=300, deadline=None)
def test_more_events_never_get_hyperparameters_of_sparser_data(example: tuple[int, int, float, float]) -> None:
    users, items, history, factor = example
    sparse, dense = (
        choose_hyperparameters(DataSize(users, items, round(users * n))) for n in (history, history * factor)
    )
    assert sparse.window <= dense.window
    assert sparse.dropout >= dense.dropout
    assert sparse.learning_rate <= dense.learning_rate
    assert sparse.batch * sparse.window <= 1.02 * dense.batch * dense.window + dense.window


@given(st.integers(1, 10**8), st.integers(1, 10**8), st.floats(1, 1e4))
@settings(max_examples=300, deadline=None)
def test_epochs_are_bounded_by_steps_for_any_size(users: int, items: int, history: float) -> None:
    events = round(users * history)
    hyperparameters = choose_hyperparameters(DataSize(users, items, events))
    steps_per_epoch = -(-events // (hyperparameters.batch * hyperparameters.window))
    assert hyperparameters.epochs <= 400
    assert hyperparameters.epochs == 3 or hyperparameters.epochs * steps_per_epoch <= 40_000
    assert 1 <= hyperparameters.epochs // hyperparameters.evaluate_every <= 40


def test_few_events_make_one_step_per_epoch() -> None:
    hyperparameters = choose_hyperparameters(DataSize(40, 30, 500))
    assert hyperparameters.batch * hyperparameters.window >= 500
    assert hyperparameters.epochs <= 400


def test_hundred_times_the_data_gets_fewer_epochs() -> None:
    users, items, events = MOVIELENS_1M
    assert 3 <= choose_hyperparameters(DataSize(100 * users, 100 * items, 100 * events)).epochs < 30


@pytest.mark.parametrize("size", [MOVIELENS_1M, BEAUTY], ids=["dense", "sparse"])
def test_student_gets_as_many_epochs_and_less_dropout_than_a_model_alone(size: DataSize) -> None:
    alone, student = choose_hyperparameters(size), choose_hyperparameters(size, {"teachers": 8})
    assert student.teachers == 8
    assert student.epochs >= alone.epochs
    assert student.dropout < alone.dropout
    teacher = choose_hyperparameters(size, role="teacher")
    assert teacher.teachers == 0
    assert teacher.epochs <= alone.epochs
    assert teacher.dropout >= alone.dropout


def test_default_teachers_need_a_gpu_and_data_that_fit() -> None:
    assert default_teachers(DataSize(6_040, 3_416, 999_611), on_gpu=True) == 12
    assert default_teachers(DataSize(6_040, 3_416, 999_611), on_gpu=False) == 0
    assert default_teachers(DataSize(6_040, 3_416, 100_000_000), on_gpu=True) == 0
    assert default_teachers(DataSize(6_040, 1_000_000, 999_611), on_gpu=True) == 0


def test_teachers_are_twice_as_wide_on_dense_data() -> None:
    assert teacher_width(64, MOVIELENS_1M) == 128
    assert teacher_width(64, BEAUTY) == 64


@pytest.mark.parametrize("name", sorted(CHOSEN_BY_DATA))
def test_given_value_is_kept(name: str) -> None:
    value: Any = 0.125 if "dropout" in name or name in ("learning_rate", "balance", "temperature") else 7
    assert getattr(choose_hyperparameters(BEAUTY, {name: value}), name) == value


def test_given_window_keeps_the_events_per_step() -> None:
    chosen, wider = choose_hyperparameters(MOVIELENS_1M), choose_hyperparameters(MOVIELENS_1M, {"window": 400})
    assert wider.batch * wider.window == chosen.batch * chosen.window


def test_given_value_out_of_range_raises() -> None:
    with pytest.raises(DataError, match="window"):
        choose_hyperparameters(BEAUTY, {"window": 0})
