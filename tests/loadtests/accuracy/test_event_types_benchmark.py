"""The comparison of models with and without event types, with tiny ones."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from loadtests.accuracy.event_types_benchmark import measure, movielens
from loadtests.accuracy.typed_histories import TypedHistories


def test_both_models_are_compared_on_the_same_purchases() -> None:
    given = {"seeds": "1,2", "ml_100k": None, "users": 60, "items": 60, "epochs": 2, "dim": 8}
    found = measure(argparse.Namespace(**given))
    assert [run["seed"] for run in found["runs"]] == [1, 2]
    assert all(run["events"] > 20 and 0.3 < run["oracle_ndcg@10"] < 1 for run in found["runs"])
    assert all(0 <= run[model]["ndcg@10"] <= 1 for run in found["runs"] for model in ("single", "typed"))
    assert found["ratio"] == round(found["ndcg@10"]["typed"] / found["ndcg@10"]["single"], 4)


def test_ratings_are_types_and_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ratings"
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    lines += ["2\t9\t5\t30", "1\t7\t1\t20", "1\t9\t3\t10", "1\t8\t5\t20", "2\t7\t4\t10", "2\t8\t2\t30"]
    file.write_text("\n".join(lines) + "\n")
    data = movielens(file).data
    assert data.types is not None
    names = list(data.types.rules)
    assert [names[code] for code in data.types.codes] == ["view", "dislike", "like", "view", "like", "dislike"]
    assert data.rows.tolist() == [3, 1, 2, 1, 3, 2]  # ids in ascending order
    assert data.offsets.tolist() == [0, 3, 6]


def test_the_last_fifth_of_each_history_is_held_out() -> None:
    rows, types = np.arange(1, 16, dtype=np.int32), np.array([0, 1, 2] * 5, np.uint8)
    histories = TypedHistories.of(rows, types, ("view", "like", "dislike"), np.array([0, 10, 15]))
    data = histories.training_data(typed=True)
    assert data.rows.tolist() == [*range(1, 9), *range(11, 15)]
    assert data.types is not None and len(data.types.codes) == 12
    assert histories.training_data(typed=False).types is None
    assert histories.held_out("dislike").tolist() == [8, 14]
    assert histories.held_out("view").tolist() == [9]
