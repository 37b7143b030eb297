"""Keys of an item's features: hashes of its values and words.

A key is a hash of 64 bits of namespace, field and value, so a vocabulary needs no texts, and a word that was never
seen has a key that is simply not in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from model.content.item_content import BOOL, STRING, STRINGS, ItemContent, kind_of, normalize

# Namespaces. Pairs and words are kept only if several items have them.
TITLE_WORD, CATEGORY, VALUE, WORD, PAIR = "title", "category", "value", "word", "pair"
_MAX_WORDS = 64  # of one text
_MAX_PAIRED = 12  # values of one item that form pairs
_WORD = re.compile(r"\w+")
# Scripts without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)


class FeatureKey(NamedTuple):
    """One feature of an item.

    Attributes:
        group: namespace and field; the features of one group share a weight of 1.
        key: hash of the group and the value.
    """

    group: str
    key: int


def feature_keys(content: ItemContent, kinds: Mapping[str, str]) -> Iterator[FeatureKey]:
    """Yield the features of texts and truths; those of numbers are `number_fields`.

    Args:
        content: the item.
        kinds: kind of each attribute; a value of another kind, or of an unknown attribute, is left out.
    """
    for word in words(content.title or ""):
        yield feature_key(TITLE_WORD, "", word)
    paired = _distinct(content.categories)
    for category in paired:
        yield feature_key(CATEGORY, "", category)
    for name in sorted(content.attributes):
        value = content.attributes[name]
        kind = kind_of(value)
        if kind is None or kinds.get(name) != kind:
            continue
        if kind == BOOL:
            yield feature_key(VALUE, name, "true" if value else "false")
        elif kind in (STRING, STRINGS):
            values = _distinct([value] if kind == STRING else value)
            for text in values:
                yield feature_key(VALUE, name, text)
            paired += [f"{name}\x1f{text}" for text in values]
            found = dict.fromkeys(word for text in values for word in _several_words(text))
            for word in found:
                yield feature_key(WORD, name, word)
    paired = paired[:_MAX_PAIRED]
    for index, first in enumerate(paired):
        for second in paired[index + 1 :]:
            yield feature_key(PAIR, "", f"{first}\x1e{second}")


def words(text: str) -> list[str]:
    """Return the distinct words of a text, without case.

    Runs of scripts without spaces give pairs of neighbouring characters.
    """
    found: dict[str, None] = {}
    for run in _WORD.findall(normalize(normalize(text).casefold())):
        if _UNSPACED.search(run) and len(run) > 2:
            found.update(dict.fromkeys(run[index : index + 2] for index in range(len(run) - 1)))
        else:
            found[run] = None
        if len(found) >= _MAX_WORDS:
            break
    return list(found)[:_MAX_WORDS]


def _several_words(text: str) -> list[str]:
    found = words(text)
    return found if len(found) > 1 else []


def _distinct(texts: Iterable[object]) -> list[str]:
    return sorted({normalize(text) for text in texts if isinstance(text, str) and text})


def feature_key(namespace: str, field: str, value: str) -> FeatureKey:
    """Return the key of a value."""
    group = f"{namespace}\x1f{field}"
    digest = hashlib.blake2b(f"{group}\x1f{value}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return FeatureKey(group, int.from_bytes(digest, "little"))
