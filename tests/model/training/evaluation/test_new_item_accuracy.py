"""Accuracy on new items, and its intervals."""

from __future__ import annotations

import numpy as np
import pytest

from model.training.evaluation.new_item_accuracy import new_item_accuracy, user_samples
from model.training.evaluation.prefix_ranking import PrefixRanks

TARGETS = np.array([1, 2, 5, 6, 3])
USERS = np.array([0, 0, 1, 2, 2])


def ranks(values: list[int], shown: list[int]) -> PrefixRanks:
    return PrefixRanks(np.array(values), TARGETS, USERS, np.array(shown))


def test_events_of_new_items_are_counted_apart() -> None:
    models = {
        "content": ranks([1, 11, 3, 0, 1], [0, 5, 0, 0, 0, 3, 2]),
        "id_only": ranks([1, 1, 0, 0, 1], [0, 6, 4, 0, 0, 0, 0]),
    }
    found = new_item_accuracy(models, trained=4, items=6)
    assert found["events"] == {"new": 2, "other": 3, "all": 5}
    assert found["users"] == 3
    content, id_only = found["models"]["content"], found["models"]["id_only"]
    assert content["new"]["ndcg@10"]["mean"] == pytest.approx(0.25)
    assert content["new"]["hr@10"]["mean"] == 0.5
    assert content["other"]["hr@10"]["mean"] == pytest.approx(2 / 3)
    assert content["coverage@10"] == 0.5
    assert content["new_items_shown"] == 0.5
    assert id_only["new_items_shown"] == 0.0
    assert found["other_relative_to_id_only"]["mean"] == pytest.approx(-1 / 3)


def test_interval_is_over_users_and_not_over_events() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(50), 40)
    hit = np.repeat(rng.random(50) < 0.5, 40)  # all events of a user alike
    found = PrefixRanks(hit.astype(np.int64), np.ones(2000, np.int64), users, np.array([0, 1, 1]))
    accuracy = new_item_accuracy({"content": found, "id_only": found}, trained=1, items=2)
    low, high = accuracy["models"]["content"]["other"]["hr@10"]["ci95"]
    assert 0.2 < high - low < 0.35  # of 2,000 independent events it would be 0.04
    assert accuracy["other_relative_to_id_only"] == {"mean": 0.0, "ci95": [0.0, 0.0]}


def test_sample_has_as_many_users_as_there_are() -> None:
    samples = user_samples(np.array([4, 4, 9, 11]), resamples=70)
    assert samples.shape == (70, 3)
    assert (samples.sum(1) == 3).all()


def test_id_only_model_without_a_hit_has_no_relative_difference() -> None:
    none = ranks([0] * 5, [0, 1, 0, 0, 0, 0, 0])
    found = new_item_accuracy({"content": none, "id_only": none}, trained=4, items=6)
    assert found["other_relative_to_id_only"] == {"mean": None, "ci95": None}
