"""The recipe follows the data, and settings that no run can have are one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.training.errors import DataError
from model.training.trainer.hyperparameters import (
    CHOSEN,
    Hyperparameters,
    hyperparameters_for,
    teacher_width,
    teachers_for,
)

# users, items, events
MOVIELENS_1M = (6_040, 3_416, 999_611)
BEAUTY = (22_363, 12_101, 198_502)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 0),
        ("batch", -1),
        ("epochs", 0),
        ("evaluate_every", 0),
        ("patience", 0),
        ("warmup_steps", -1),
        ("seed", -1),
        ("full_softmax", -1),
        ("negatives", 1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", float("nan")),
        ("teachers", -1),
        ("balance", -0.1),
        ("balance", 1.1),
        ("balance", float("nan")),
    ],
)
def test_a_setting_that_no_run_can_have_is_named(name: str, value: Any) -> None:
    with pytest.raises(DataError, match=name):
        Hyperparameters(**{name: value})


def test_the_bounds_themselves_are_taken() -> None:
    Hyperparameters(window=1, batch=1, epochs=1, warmup_steps=0, dropout=0.0, evaluate_every=1, patience=1, seed=0)


def test_the_searched_data_sets_get_their_own_recipes() -> None:
    assert hyperparameters_for(*MOVIELENS_1M) == Hyperparameters()
    sparse = hyperparameters_for(*BEAUTY)
    assert sparse.window == 64
    assert sparse.dropout == 0.5
    assert sparse.epochs == 60


@pytest.mark.parametrize(
    "size", [(20_000, 10_000, 600_000), (10_000, 6_000, 250_000)], ids=["30 events a user", "25 events a user"]
)
def test_data_between_them_gets_numbers_between(size: tuple[int, int, int]) -> None:
    low, high = hyperparameters_for(*BEAUTY), hyperparameters_for(*MOVIELENS_1M)
    between = hyperparameters_for(*size)
    assert low.window < between.window < high.window
    assert low.dropout > between.dropout > high.dropout
    assert low.learning_rate <= between.learning_rate <= high.learning_rate
    assert low.epochs < between.epochs < high.epochs
    assert low.batch * low.window < between.batch * between.window < high.batch * high.window


sizes = st.tuples(st.integers(1, 10**8), st.integers(1, 10**8), st.floats(1, 1e4), st.floats(1, 50))


@given(sizes)
@settings(max_examples=300, deadline=None)
def test_denser_data_never_gets_the_recipe_of_sparser(sampled: tuple[int, int, float, float]) -> None:
    """The same users and items with more events, of which none is fewer for any of them."""
    users, items, history, factor = sampled
    sparse, dense = (hyperparameters_for(users, items, round(users * n)) for n in (history, history * factor))
    assert sparse.window <= dense.window
    assert sparse.dropout >= dense.dropout
    assert sparse.learning_rate <= dense.learning_rate
    assert sparse.batch * sparse.window <= 1.02 * dense.batch * dense.window + dense.window


@given(st.integers(1, 10**8), st.integers(1, 10**8), st.floats(1, 1e4))
@settings(max_examples=300, deadline=None)
def test_no_data_takes_absurd_time(users: int, items: int, history: float) -> None:
    events = round(users * history)
    hyperparameters = hyperparameters_for(users, items, events)
    steps_an_epoch = -(-events // (hyperparameters.batch * hyperparameters.window))
    assert hyperparameters.epochs <= 400
    assert hyperparameters.epochs == 3 or hyperparameters.epochs * steps_an_epoch <= 40_000
    assert 1 <= hyperparameters.epochs // hyperparameters.evaluate_every <= 40


def test_a_handful_of_events_is_a_step_an_epoch() -> None:
    hyperparameters = hyperparameters_for(40, 30, 500)
    assert hyperparameters.batch * hyperparameters.window >= 500
    assert hyperparameters.epochs <= 400


def test_a_hundred_times_the_data_is_read_fewer_times() -> None:
    users, items, events = MOVIELENS_1M
    assert 3 <= hyperparameters_for(100 * users, 100 * items, 100 * events).epochs < 30


@pytest.mark.parametrize("size", [MOVIELENS_1M, BEAUTY], ids=["dense", "sparse"])
def test_a_student_sees_its_data_as_long_and_with_less_noise_than_a_model_alone(size: tuple[int, int, int]) -> None:
    alone, student = hyperparameters_for(*size), hyperparameters_for(*size, {"teachers": 8})
    assert student.teachers == 8
    assert student.epochs >= alone.epochs
    assert student.dropout < alone.dropout
    teacher = hyperparameters_for(*size, role="teacher")
    assert teacher.teachers == 0
    assert teacher.epochs <= alone.epochs
    assert teacher.dropout >= alone.dropout


def test_teachers_are_for_gpus_and_for_data_that_can_afford_them() -> None:
    assert teachers_for(3_416, 999_611, on_gpu=True) == 12
    assert teachers_for(3_416, 999_611, on_gpu=False) == 0
    assert teachers_for(3_416, 100_000_000, on_gpu=True) == 0
    assert teachers_for(1_000_000, 999_611, on_gpu=True) == 0


def test_teachers_are_wider_where_the_data_fill_the_width() -> None:
    assert teacher_width(64, *MOVIELENS_1M) == 128
    assert teacher_width(64, *BEAUTY) == 64


@pytest.mark.parametrize("name", sorted(CHOSEN))
def test_a_number_that_is_given_stays(name: str) -> None:
    value: Any = 0.125 if "dropout" in name or name in ("learning_rate", "balance", "temperature") else 7
    assert getattr(hyperparameters_for(*BEAUTY, {name: value}), name) == value


def test_a_window_that_is_given_keeps_the_events_of_a_step() -> None:
    chosen, wider = hyperparameters_for(*MOVIELENS_1M), hyperparameters_for(*MOVIELENS_1M, {"window": 400})
    assert wider.batch * wider.window == chosen.batch * chosen.window


def test_numbers_that_are_given_are_checked() -> None:
    with pytest.raises(DataError, match="window"):
        hyperparameters_for(*BEAUTY, {"window": 0})
