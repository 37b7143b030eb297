"""Filters that fit a taste or oppose it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from loadtests.environment.items_with_preferences import KINDS, Kind, TastefulItems
from loadtests.micro.engine_search import synthetic_catalogue
from service.core.catalogue.expression.parser import parse
from service.core.catalogue.items import Item
from tests.core.catalogue.reference import Reference

ITEMS = 20_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("selectivity", [0.5, 0.1, 0.01, 0.001])
def test_filters_allow_their_share_of_liked_or_disliked_items(kind: Kind, selectivity: float) -> None:
    table, vectors = synthetic_catalogue(ITEMS)
    items = TastefulItems(table)
    for number, vector in enumerate(vectors[:5]):
        allowed = items.allowed(items.chosen(kind, selectivity, vector, number))
        assert not allowed[0]
        assert allowed.sum() == pytest.approx(selectivity * ITEMS, rel=0.3, abs=8)
        score, mean = (table[allowed] @ vector).mean(), float(vector @ table[1:].mean(axis=0))
        if kind != "random":
            assert score > mean if kind == "liked" else score < mean


@pytest.mark.parametrize("kind", KINDS)
def test_text_of_a_filter_means_the_same(kind: Kind) -> None:
    table, vectors = synthetic_catalogue(3000)
    items, reference = TastefulItems(table), Reference({}, datetime.now(UTC))
    chosen = items.chosen(kind, 0.2, vectors[0], 7)
    allowed, tree = items.allowed(chosen), parse(chosen.expression)
    for row in range(1, 3001, 7):
        item = Item("", None, (), True, items.attributes_of(row))
        assert reference.holds(tree, "", item) is bool(allowed[row])
