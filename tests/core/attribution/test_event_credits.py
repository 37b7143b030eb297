"""Counts of an event with a recommendation id."""

from __future__ import annotations

import pytest

from service.core.attribution.event_credits import MAX_COUNTED_VALUE, EventCredits
from service.core.attribution.recommendation_ids import RecommendationIds, item_hash
from service.core.events import NewEvent

IDS = RecommendationIds([b"k" * 32], 100)
HASHES = [item_hash(item) for item in ("a", "b", "c")]


def credit(
    kind: str = "", value: float | None = None, item: str = "b", now: float = 1050.0, text: str | None = None
) -> str:
    text = IDS.issue("v1", HASHES, 1000.0) if text is None else text
    event = NewEvent.create(item, 0.0, "e", 0.0, kind, value, text)
    credited = EventCredits(IDS, frozenset({"purchase"}), lambda: now).credited(event)
    assert credited._replace(credit="") == event
    return credited.credit


@pytest.mark.parametrize(
    ("kind", "value", "amounts"),
    [
        ("", None, "c1"),
        ("view", 5.0, "c1"),
        ("cart", 5.0, "c1"),
        ("like", None, "c1"),
        ("purchase", None, "c1o1"),
        ("purchase", 19.99, "c1o1v19990000"),
        ("purchase", -5.0, "c1o1v-5000000"),
        ("purchase", 0.0, "c1o1"),
        ("purchase", MAX_COUNTED_VALUE, "c1o1v1000000000000000"),
        ("purchase", 2 * MAX_COUNTED_VALUE, "c1o1"),
        ("impression", 3.0, "i1"),
    ],
)
def test_type_decides_what_is_counted(kind: str, value: float | None, amounts: str) -> None:
    assert credit(kind, value) == f"{amounts} p:0:v1:2"


def test_dislike_counts_nothing() -> None:
    assert credit("dislike") == ""


def test_item_that_was_not_recommended_counts_nothing() -> None:
    assert credit(item="d") == ""


def test_expired_id_counts_nothing() -> None:
    assert credit(now=1099.9) != ""
    assert credit(now=1100.0) == ""


@pytest.mark.parametrize("text", ["x", "", "i" + "A" * 130, "ü"])
def test_forged_id_counts_nothing(text: str) -> None:
    assert credit(text=text) == ""


def test_answer_of_a_test_is_counted_for_the_test_too() -> None:
    text = IDS.issue("v1", HASHES, 1000.0, None, b"\1\2\3\4")
    assert credit(text=text) == "c1 p:0:v1:2 x:01020304:v1"


def test_impressions_of_ids_outside_the_sample_count_nothing() -> None:
    sampled = RecommendationIds([b"k" * 32], 100, impression_sample=3)
    texts = [sampled.issue("v1", HASHES, 1000.0 + n) for n in range(20)]
    found = {text[0]: credit("impression", text=text) for text in texts}
    assert found == {"i": "i3 p:0:v1:2", "n": ""}
    assert {credit(text=text) for text in texts} == {"c1 p:0:v1:2"}
