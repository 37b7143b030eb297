"""The simulated shop: its funnel, its oracle, and what its parameters promise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from loadtests.accuracy.shop_simulator import CART, PURCHASE, VIEW, Shop, simulate

SMALL = Shop(users=120, items=100, clusters=10, events_per_user=50)


def test_equal_parameters_simulate_equal_logs() -> None:
    first, again, other = simulate(SMALL), simulate(SMALL), simulate(replace(SMALL, seed=2))
    assert np.array_equal(first.items, again.items)
    assert np.array_equal(first.types, again.types)
    assert len(first.items) != len(other.items) or (first.items != other.items).any()


def test_histories_are_in_order_and_items_exist_when_they_are_used() -> None:
    log = simulate(SMALL)
    for start, end in pairwise(log.offsets):
        assert (np.diff(log.times[start:end]) >= 0).all()
    assert (log.born[log.items] <= log.times + 1e-9).all()
    assert 0.05 < (log.born > 0).mean() < 0.4


def test_a_cart_follows_a_view_of_its_item() -> None:
    log = simulate(SMALL)
    carts = np.flatnonzero(log.types == CART)
    assert len(carts) > 200
    for cart in carts.tolist():
        start = log.offsets[np.searchsorted(log.offsets, cart, side="right") - 1]
        before = slice(start, cart)
        assert log.items[cart] in log.items[before][log.types[before] == VIEW]


def test_most_purchases_are_of_items_in_the_cart() -> None:
    log = simulate(replace(SMALL, users=400))
    from_cart = total = 0
    for start, end in pairwise(log.offsets):
        cart: set[int] = set()
        for item, kind in zip(log.items[start:end].tolist(), log.types[start:end].tolist(), strict=True):
            if kind == CART:
                cart.add(item)
            if kind == PURCHASE and cart:
                total += 1
                from_cart += item in cart
                cart.discard(item)
    assert total > 500
    assert 0.7 < from_cart / total < 0.85


def test_views_are_of_the_first_ranks_of_the_page_rather_than_of_the_last() -> None:
    few = simulate(replace(SMALL, users=400, page_share=0.9, repeats=0.0, page_days=60, new_items=0.0))
    counts = np.sort(np.bincount(few.items[few.types == VIEW], minlength=100))[::-1]
    assert counts[0] > 4 * counts[10]


def test_oracle_beats_every_plain_order_and_only_purchases_have_its_gain() -> None:
    log = simulate(replace(SMALL, users=400))
    purchases = log.types == PURCHASE
    assert np.isfinite(log.oracle[purchases]).all() and np.isnan(log.oracle[~purchases]).all()
    popular = np.argsort(-np.bincount(log.items[purchases], minlength=100), kind="stable")
    rank = np.argsort(popular)[log.items[purchases]]
    by_popularity = np.where(rank < 10, 1 / np.log2(rank + 2.0), 0.0).mean()
    last = np.concatenate([[-1], log.items[:-1]])[purchases] == log.items[purchases]
    assert log.oracle[purchases].mean() > 2 * by_popularity
    assert log.oracle[purchases].mean() > last.mean()
    assert 0.4 < log.oracle[purchases].mean() < 0.9


@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_taste_drifts_as_often_as_asked(drift: float) -> None:
    log = simulate(replace(SMALL, drift=drift, page_share=0.0, repeats=0.0, users=60, new_items=0.0))
    clusters = [
        len(np.unique(log.items[start:end][log.types[start:end] == VIEW] % 10))
        for start, end in pairwise(log.offsets)
    ]
    assert (np.array(clusters) <= 3).all() if drift == 0 else np.mean(clusters) > 4
