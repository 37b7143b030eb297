"""Fitting the feature space."""

from __future__ import annotations

import numpy as np

from model.content.feature_keys import feature_key
from model.content.item_content import ItemContent
from model.training.content import feature_fit
from model.training.content.feature_fit import fit_feature_space
from tests.model.content.made_up_items import made_up_items


def has(contents: list[ItemContent], namespace: str, field: str, value: str) -> bool:
    return bool(np.isin(np.uint64(feature_key(namespace, field, value).key), fit_feature_space(contents).keys))


def test_word_of_one_item_is_left_out_and_a_value_is_kept() -> None:
    contents = [ItemContent("red lamp", (), {"brand": "Acme"}), ItemContent("red shoe")]
    assert has(contents, "title", "", "red")
    assert not has(contents, "title", "", "lamp")
    assert has(contents, "value", "brand", "Acme")


def test_commonest_kind_of_an_attribute_counts() -> None:
    contents = [ItemContent(None, (), {"size": value}) for value in ("S", "M", 3.0, "L")]
    assert fit_feature_space(contents).kinds == {"size": "string"}


def test_quantiles_ignore_how_far_outliers_are() -> None:
    prices = [*map(float, range(100)), 1e12]
    space = fit_feature_space([ItemContent(None, (), {"price": price}) for price in prices])
    (price,) = space.numbers
    assert abs(price.position(50.0)) < 0.1
    assert price.position(-5.0) == -1.0
    assert price.bucket(20.0) != price.bucket(80.0)


def test_constant_number_has_a_position() -> None:
    space = fit_feature_space([ItemContent(None, (), {"price": 3.0})] * 4)
    (price,) = space.numbers
    assert (price.position(2.0), price.position(3.0), price.position(4.0)) == (-1.0, 0.0, 1.0)


def test_most_frequent_keys_are_kept(monkeypatch) -> None:  # noqa: ANN001
    monkeypatch.setattr(feature_fit, "MAX_KEYS", 3)
    contents = [ItemContent(None, (f"c{number % 5}", "all")) for number in range(20)]
    space = fit_feature_space(contents)
    assert len(space.keys) == 3
    assert has(contents, "category", "", "all")


def test_features_of_a_group_have_length_one() -> None:
    contents = made_up_items(100)
    space = fit_feature_space(contents)
    found = space.features(ItemContent("red blue shoe lamp"))
    assert len(found.values) == 4
    np.testing.assert_allclose(np.square(found.values).sum(), 1.0, rtol=1e-6)


def test_vectors_are_standardised_by_the_commonest_length() -> None:
    rng = np.random.default_rng(0)
    vectors = (100.0 + 7.0 * rng.standard_normal((50, 3))).astype(np.float32)
    contents = [ItemContent(None, (), {}, vector) for vector in vectors] + [ItemContent(None, (), {}, np.ones(2))]
    space = fit_feature_space(contents)
    standard = np.array([space.features(content).values for content in contents[:50]])
    np.testing.assert_allclose(standard.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(np.square(standard).sum(1).mean(), 1.0, rtol=1e-4)


def test_items_without_content_give_an_empty_space() -> None:
    space = fit_feature_space([ItemContent()] * 3)
    assert space.columns == 0
    assert not len(space.features(ItemContent("red")).columns)
