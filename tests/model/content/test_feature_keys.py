"""Keys of words, values and pairs."""

from __future__ import annotations

import unicodedata

import pytest

from model.content.feature_keys import feature_key, feature_keys, words
from model.content.item_content import ItemContent

KINDS = {"brand": "string", "tags": "strings", "new": "bool", "price": "number"}


def keys(content: ItemContent) -> set[int]:
    return {each.key for each in feature_keys(content, KINDS)}


def test_key_of_a_value_is_the_same_in_every_release() -> None:
    # Stored in bundles: a change of this number makes the encoders of all bundles wrong.
    assert feature_key("value", "brand", "Acme").key == 0x2DC6B53028BCE280


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Red SHOE red", ["red", "shoe"]),
        ("Größe STRASSE Straße", ["grösse", "strasse"]),
        ("", []),
        (" - !", []),
        ("新しい靴", ["新し", "しい", "い靴"]),
        ("靴", ["靴"]),
    ],
)
def test_words_are_distinct_and_without_case(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_decomposed_text_gives_the_keys_of_composed_text() -> None:
    composed = ItemContent("\u00c9clair", ("Caf\u00e9",), {"brand": "\u00c5ngstr\u00f6m AB", "tags": ["\u00e9"]})
    decomposed = ItemContent(
        unicodedata.normalize("NFD", "\u00c9clair"),
        (unicodedata.normalize("NFD", "Caf\u00e9"),),
        {"brand": unicodedata.normalize("NFD", "\u00c5ngstr\u00f6m AB"), "tags": ("e\u0301",)},
    )
    assert keys(composed) == keys(decomposed)


def test_order_of_sets_and_attributes_does_not_matter() -> None:
    one = ItemContent(None, ("a", "b"), {"tags": ("x", "y"), "brand": "B"})
    other = ItemContent(None, ("b", "a", "a"), {"brand": "B", "tags": ["y", "x"]})
    assert keys(one) == keys(other)


def test_value_of_another_kind_gives_no_key() -> None:
    assert not keys(ItemContent(None, (), {"brand": 3.0, "tags": "x", "new": "true", "unknown": "y"}))


def test_missing_values_give_no_key() -> None:
    assert not keys(ItemContent(None, (), {"brand": None, "tags": [], "new": None}))
    assert not keys(ItemContent("", ("",), {"brand": "", "tags": ["", None]}))


def test_same_text_in_two_fields_gives_two_keys() -> None:
    assert not keys(ItemContent(None, ("x",))) & keys(ItemContent(None, (), {"tags": ["x"]}))


def test_two_values_of_an_item_form_a_pair() -> None:
    apart = keys(ItemContent(None, ("a",))) | keys(ItemContent(None, ("b",)))
    assert len(keys(ItemContent(None, ("a", "b"))) - apart) == 1


def test_many_values_form_a_bounded_number_of_pairs() -> None:
    content = ItemContent(None, [f"c{number}" for number in range(64)])
    assert len(list(feature_keys(content, KINDS))) < 64 + 100


def test_lone_surrogate_has_a_key() -> None:
    assert keys(ItemContent("\ud800", ("\ud800",)))
