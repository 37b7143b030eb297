"""The filters of the availability scenario."""

from __future__ import annotations

from loadtests.environment.made_up_items import FILTERS, attributes_of


def test_filters_leave_different_shares_of_the_items() -> None:
    items = [attributes_of(number) for number in range(1, 20_001)]
    shares = [sum(map(made_up.passes, items)) / len(items) for made_up in FILTERS]
    assert len(FILTERS) == 20
    assert min(shares) < 0.005
    assert max(shares) == 1.0
    assert sum(0.05 < share < 0.95 for share in shares) >= 8
