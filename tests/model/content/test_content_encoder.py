"""The NumPy encoder against PyTorch in float64, and at content with gaps."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import numpy as np
import torch

from model.content.content_encoder import ContentEncoder
from model.content.item_content import ItemContent
from model.training.content.feature_fit import fit_feature_space
from model.training.content.ridge import SparseFeatures
from tests.model.content.made_up_items import made_up_items

D = 7


def encoder(seed: int = 0) -> ContentEncoder:
    space = fit_feature_space(made_up_items(200, seed))
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((space.columns, D)).astype(np.float32)
    return ContentEncoder(space, weights, rng.standard_normal(D).astype(np.float32))


def test_encoder_equals_torch_in_float64() -> None:
    encode = encoder()
    contents = made_up_items(300, seed=1)
    vectors, has_vector = encode.encode_all(contents)
    rows = [encode.space.features(content) for content in contents]
    matrix = SparseFeatures(rows, encode.space.columns, torch.device("cpu")).matrix
    expected = matrix @ torch.from_numpy(encode.weights).double() + torch.from_numpy(encode.bias).double()
    assert has_vector.sum() > 250
    np.testing.assert_allclose(vectors[has_vector], expected.numpy()[has_vector], rtol=1e-6, atol=1e-6)
    assert vectors.dtype == np.float32


def test_unknown_words_and_values_add_nothing() -> None:
    encode = encoder()
    known = ItemContent("red shoe", ("c1",), {"brand": "brand 3", "price": 20.0})
    more = ItemContent("red shoe neverseen", ("c1", "c99"), {"brand": "brand 3", "price": 20.0, "other": "x"})
    first, second = encode.encode(known), encode.encode(more)
    assert first is not None and second is not None
    np.testing.assert_array_equal(first, second)


def test_content_without_anything_known_has_no_vector() -> None:
    encode = encoder()
    for content in (ItemContent(), ItemContent("neverseen", ("c99",), {"brand": None, "price": float("nan")})):
        assert encode.encode(content) is None
    vectors, has_vector = encode.encode_all([ItemContent()])
    assert not vectors.any() and not has_vector.any()


def test_decomposed_text_has_the_same_vector() -> None:
    encode = encoder()
    one = encode.encode(ItemContent("Größe \u00e9clair"))
    other = encode.encode(ItemContent(unicodedata.normalize("NFD", "Größe \u00e9clair")))
    assert one is not None and other is not None
    np.testing.assert_array_equal(one, other)


def test_vector_of_another_length_or_not_finite_is_left_out() -> None:
    encode = encoder()
    plain = ItemContent("red", ("c1",))
    expected = encode.encode(plain)
    assert expected is not None
    for vector in (np.ones(4, np.float32), np.full(5, np.nan, np.float32), np.zeros(0, np.float32)):
        found = encode.encode(replace(plain, vector=vector))
        assert found is not None
        np.testing.assert_array_equal(found, expected)
    with_vector = encode.encode(replace(plain, vector=np.ones(5, np.float32)))
    assert with_vector is not None and not np.array_equal(with_vector, expected)


def test_number_far_outside_is_like_the_largest_known() -> None:
    encode = encoder()
    largest, beyond = (encode.encode(ItemContent("red", (), {"price": price})) for price in (1e9, 1e300))
    assert largest is not None and beyond is not None
    np.testing.assert_array_equal(largest, beyond)
    assert not np.array_equal(largest, encode.encode(ItemContent("red", (), {"price": 1.0})))


def test_whole_number_is_like_the_same_float() -> None:
    encode = encoder()
    one, other = (encode.encode(ItemContent("red", (), {"price": price})) for price in (20, 20.0))
    assert one is not None and other is not None
    np.testing.assert_array_equal(one, other)
