"""The check of the availability scenario finds hidden items, and only those."""

from __future__ import annotations

from loadtests.environment.made_up_items import FILTERS, attributes_of
from loadtests.scenarios.availability import Flips
from service.core.catalogue.revisions import encode_revision
from service.core.catalogue_store import ShardPosition


def revision(number: int) -> str:
    return encode_revision([ShardPosition(number, f"token {number}")])


def test_item_is_hidden_from_the_revision_of_its_flip_on() -> None:
    flips = Flips()
    assert flips.before("a") is False
    flips.after("a", False, revision(5))
    assert flips.hidden(["a", "b"], revision(4)) == []
    assert flips.hidden(["a", "b"], revision(5)) == ["a"]
    assert flips.hidden(["a", "b"], revision(9)) == ["a"]


def test_item_is_not_checked_from_the_moment_its_next_flip_is_sent() -> None:
    flips = Flips()
    flips.before("a")
    flips.after("a", False, revision(5))
    assert flips.before("a") is True
    assert flips.hidden(["a"], revision(9)) == []
    flips.after("a", True, revision(7))
    assert flips.hidden(["a"], revision(9)) == []
    assert flips.before("a") is False


def test_filters_leave_different_shares_of_the_items() -> None:
    items = [attributes_of(number) for number in range(1, 20_001)]
    shares = [sum(map(made_up.passes, items)) / len(items) for made_up in FILTERS]
    assert len(FILTERS) == 20
    assert min(shares) < 0.005
    assert max(shares) == 1.0
    assert sum(0.05 < share < 0.95 for share in shares) >= 8
