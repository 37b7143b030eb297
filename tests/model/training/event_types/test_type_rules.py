"""Rules of event types, chosen from their counts."""

from __future__ import annotations

import numpy as np
import pytest

from ingest.errors import DataError
from model.bundle.event_types import EventType
from model.training.event_types.type_rules import choose_rules, type_column


@pytest.mark.parametrize(
    "counts", [{}, {"view": 9}, {"purchase": 9}, {"view": 9, "impression": 99}, {"view": 9, "cart": 0}]
)
def test_log_with_one_type_has_no_rules(counts: dict[str, int]) -> None:
    assert choose_rules(counts) is None


def test_rarer_types_weigh_more_and_dislikes_lower() -> None:
    rules = choose_rules({"purchase": 100, "dislike": 5000, "view": 1600, "cart": 500, "rare": 1, "impression": 7})
    assert rules == {
        "view": EventType("replayed", 1.0, True),
        "dislike": EventType("replayed", -0.02, False),
        "cart": EventType("replayed", 1.79, True),
        "purchase": EventType("replayed", 4.0, True),
        "rare": EventType("replayed", 5.0, True),
    }
    assert list(rules) == ["view", "dislike", "cart", "purchase", "rare"]


def test_default_type_is_first_though_no_event_has_it() -> None:
    rules = choose_rules({"purchase": 4, "cart": 16})
    assert rules is not None
    assert list(rules) == ["view", "cart", "purchase"]
    assert rules["purchase"].weight == 2.0


def test_log_of_dislikes_has_rules() -> None:
    rules = choose_rules({"dislike": 5})
    assert rules is not None
    assert [rule.positive for rule in rules.values()] == [True, False]


def test_too_many_types_are_an_error() -> None:
    with pytest.raises(DataError, match="types"):
        choose_rules({f"t{n}": 3 for n in range(70)})


def test_codes_are_renumbered_in_the_order_of_the_rules() -> None:
    column = type_column(np.array([2, 1, 1, 0, 3, 1], np.uint8), ["view", "cart", "purchase", "dislike"])
    assert column is not None
    assert list(column.rules) == ["view", "cart", "purchase", "dislike"]
    assert column.counts() == {"view": 1, "cart": 3, "purchase": 1, "dislike": 1}
    again = type_column(np.array([2, 1, 1, 0, 1, 1], np.uint8), ["view", "purchase", "cart"])
    assert again is not None
    assert again.codes.tolist() == [2, 1, 1, 0, 1, 1]
    assert list(again.rules) == ["view", "purchase", "cart"]
    assert again.take(slice(0, 1)).codes.tolist() == [2]


def test_types_map_to_those_of_another_model() -> None:
    column = type_column(np.array([1, 2, 3], np.uint8), ["view", "cart", "purchase", "dislike"])
    assert column is not None
    other = {
        "view": EventType("replayed", 1.0, True),
        "purchase": EventType("replayed", 1.0, True),
        "dislike": EventType("excluded", 0.0, False),
    }
    by_name = dict(zip(column.rules, column.codes_under(other).tolist(), strict=True))
    assert by_name == {"view": 0, "cart": -1, "purchase": 1, "dislike": -1}
    plain = dict(zip(column.rules, column.codes_under(None).tolist(), strict=True))
    assert plain == {"view": 0, "cart": 0, "purchase": 0, "dislike": -1}
