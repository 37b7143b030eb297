"""Items that a revision hides, by the flips that were sent."""

from __future__ import annotations

from collections.abc import Collection

from loadtests.generator.flip_history import FlipHistory
from service.core.catalogue.revisions import encode_revision
from service.core.catalogue_store import CATALOGUE_SHARDS, ShardPosition


def revision(number: int, catching_up: Collection[int] = (), token: str = "") -> str:
    position = ShardPosition(number, token or f"token {number}")
    return encode_revision([position] * (CATALOGUE_SHARDS + 1), catching_up)


def flip(flips: FlipHistory, number: int, *, is_exact: bool = True) -> None:
    flips.end("a", flips.begin("a"), revision(number), 0.0, is_exact=is_exact)


def hidden_at(flips: FlipHistory, *numbers: int) -> list[bool]:
    return [flips.hidden(["a", "b"], revision(number)) == ["a"] for number in numbers]


def test_item_is_hidden_from_the_revision_of_its_flip_to_that_of_the_next() -> None:
    flips = FlipHistory()
    for number in (5, 8, 9):
        flip(flips, number)
    assert hidden_at(flips, 4, 5, 7, 8, 9, 100) == [False, True, True, False, True, True]
    assert flips.undecided == 0
    assert flips.hidden(["a"], revision(9, token="undone")) == []


def test_item_is_not_decided_beyond_a_flip_that_is_on_its_way() -> None:
    flips = FlipHistory()
    flip(flips, 5)
    on_its_way = flips.begin("a")
    assert on_its_way.available
    assert hidden_at(flips, 4, 5, 9) == [False, False, False]
    assert flips.undecided == 2
    flips.end("a", on_its_way, revision(7), 0.0, is_exact=True)
    assert hidden_at(flips, 4, 5, 9) == [False, True, False]


def test_repeated_flip_may_have_taken_effect_before_its_revision() -> None:
    flips = FlipHistory()
    flip(flips, 5)
    flip(flips, 9, is_exact=False)
    flip(flips, 12)
    assert hidden_at(flips, 5, 8, 9, 12) == [False, False, False, True]


def test_copy_that_catches_up_may_have_later_flips() -> None:
    flips = FlipHistory()
    flip(flips, 5)
    assert flips.hidden(["a"], revision(7, range(CATALOGUE_SHARDS))) == ["a"]
    flip(flips, 8)
    assert flips.hidden(["a"], revision(7, range(CATALOGUE_SHARDS))) == []
