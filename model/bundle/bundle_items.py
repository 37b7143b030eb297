"""Items of a bundle, one JSON object per line, in row order.

Other fields of a line are ignored: older bundles have titles and categories, which are the catalogue's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.bundle.manifest import ITEMS, BundleError
from model.bundle.safetensors_reader import FileBytes
from model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Item:
    """Item that the model knows. `popularity` counts its training events."""

    item_id: str
    popularity: int = 0


def parse_items(path: Path, data: FileBytes) -> list[Item]:
    """Parse the lines of the file `path`; raises `BundleError`."""
    items = []
    try:
        for line in str(data, "utf-8").splitlines():
            entry = json.loads(line)
            items.append(Item(entry["item_id"], entry["popularity"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path}, line {len(items) + 1}: not an item ({error!r})") from None
    return items


def encode_items(items: Sequence[Item]) -> bytes:
    """Return the lines of the items."""
    lines = []
    for item in items:
        entry = {"item_id": item.item_id, "popularity": item.popularity}
        lines.append(json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def check_items(items: Sequence[Item], config: ModelConfig) -> None:
    """Check number, types and uniqueness of the items; raises `BundleError`."""
    if len(items) != config.items:
        raise BundleError(f"{ITEMS} has {len(items)} items, the config says {config.items}")
    for row, item in enumerate(items, start=1):
        if not isinstance(item.item_id, str) or not 1 <= len(item.item_id) <= 256:
            raise BundleError(f"{ITEMS}, line {row}: item_id must be a string of 1 to 256 characters")
        if type(item.popularity) is not int or not 0 <= item.popularity < 2**63:
            raise BundleError(f"{ITEMS}, line {row}: popularity must be a whole number from 0 to 2^63 - 1")
        if not _is_unicode(item.item_id):
            raise BundleError(f"{ITEMS}, line {row}: half a character (a lone surrogate) cannot be sent to clients")
    if len({item.item_id for item in items}) != len(items):
        raise BundleError(f"{ITEMS} names an item twice")


def _is_unicode(text: str) -> bool:
    """Return whether the text can be sent.

    JSON's escapes can spell half a character.
    """
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
