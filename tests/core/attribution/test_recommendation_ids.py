"""Recommendation ids: what they hold, and that none can be made up."""

from __future__ import annotations

import random
import string

import pytest

from service.core.attribution.recommendation_ids import (
    MAX_ID_LENGTH,
    MAX_POSITIONS,
    Recommendation,
    RecommendationIds,
    digest4,
    item_hash,
)
from tests.faults.harness.modes import short_or_long

KEY, OTHER = b"k" * 32, b"o" * 32
IDS = RecommendationIds([KEY], 7 * 86_400)
ITEMS = [f"item-{number}" for number in range(10)]
VERSION = "20261128T052316Z-3cf3d5d7"


def hashes(items: list[str]) -> list[str]:
    return [item_hash(item) for item in items[:MAX_POSITIONS]]


def issue(ids: RecommendationIds = IDS, items: list[str] = ITEMS, now: float = 1000.0) -> str:
    return ids.issue(VERSION, hashes(items), now, "c1:5", b"\1\2\3\4")


def read(text: str, ids: RecommendationIds = IDS) -> Recommendation:
    found = ids.read(text)
    assert found is not None
    return found


def test_id_holds_what_the_answer_was() -> None:
    found = read(issue())
    assert found.model_version == VERSION
    assert found.issued_at == 1000
    assert found.expires_at == 1000 + 7 * 86_400
    assert found.placement == 0
    assert found.impression_weight == 1
    assert found.catalogue == digest4("c1:5")
    assert found.experiment == "01020304"
    assert [found.position_of(item) for item in ITEMS] == list(range(1, 11))
    assert found.position_of("another") is None


def test_empty_answer_outside_a_test_has_an_id() -> None:
    found = read(IDS.issue(VERSION, [], 1.0))
    assert found.experiment == ""
    assert found.catalogue == bytes(4)
    assert found.position_of("item-0") is None


def test_only_the_first_positions_are_held() -> None:
    many = [f"ünï-{number}" for number in range(80)]
    found = read(issue(items=many))
    assert found.position_of(many[MAX_POSITIONS - 1]) == MAX_POSITIONS
    assert found.position_of(many[MAX_POSITIONS]) is None


def test_longest_id_is_within_the_limit_and_readable() -> None:
    text = IDS.issue("v" * 128, hashes(ITEMS * 5), 4e9, "r" * 500, b"abcd")
    assert len(text) <= MAX_ID_LENGTH
    assert read(text).model_version == "v" * 128


def test_id_of_ten_items_is_short() -> None:
    assert len(issue()) < 140


def test_previous_key_still_reads_and_the_current_one_signs() -> None:
    rotated = RecommendationIds([OTHER, KEY], 60)
    assert rotated.read(issue()) is not None
    assert IDS.read(issue(rotated)) is None
    assert RecommendationIds([OTHER], 60).read(issue()) is None


def test_any_changed_character_makes_an_id_invalid() -> None:
    for text in (issue(), issue(items=ITEMS[:9]), issue(items=ITEMS[:8])):  # each leaves other unused bits
        for at, character in enumerate(text):
            for other in "AaZ09-_in":
                if other != character:
                    assert IDS.read(text[:at] + other + text[at + 1 :]) is None


def test_any_truncated_or_lengthened_id_is_invalid() -> None:
    text = issue()
    for length in range(len(text)):
        assert IDS.read(text[:length]) is None
        assert IDS.read(text[length:]) is None or length == 0
    for extra in ("A", "=", "==", "\n", " ", text):
        assert IDS.read(text + extra) is None


def test_forged_ids_are_never_valid() -> None:
    """Random texts, and valid ids with some characters exchanged."""
    rng, text = random.Random(1), issue()
    alphabet = string.ascii_letters + string.digits + "-_"
    for _ in range(short_or_long(20_000, 1_000_000)):
        forged = list(text)
        for at in rng.sample(range(len(forged)), rng.choice((1, 1, 2, 5, len(forged)))):
            forged[at] = rng.choice(alphabet)
        candidate = "".join(forged[: rng.choice((len(forged), len(forged), rng.randrange(len(forged))))])
        assert candidate == text or IDS.read(candidate) is None


@pytest.mark.parametrize(
    "text", ["", "i", "n", "iAAAA", "ö" * 100, "i" + "A" * 2000, "\0", "i\n\n", "i===", "i" + "=" * 64]
)
def test_texts_that_are_no_ids_are_invalid(text: str) -> None:
    assert IDS.read(text) is None


def test_impressions_of_a_sample_are_wanted_with_its_weight() -> None:
    ids = RecommendationIds([KEY], 60, impression_sample=4)
    texts = [ids.issue(VERSION, hashes(ITEMS), float(second)) for second in range(4000)]
    weights = [read(text, ids).impression_weight for text in texts]
    assert {(text[0], weight) for text, weight in zip(texts, weights, strict=True)} == {("i", 4), ("n", 0)}
    assert sum(weights) == pytest.approx(4000, rel=0.1)
    wrong_letter = "in"[texts[0][0] == "i"] + texts[0][1:]
    assert ids.read(wrong_letter) is None
