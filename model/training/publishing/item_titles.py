"""Titles and categories of a bundle's items."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ingest.errors import DataError
from ingest.reading.item_table import ItemTableOptions, ItemText, read_items
from model.bundle.bundle import Bundle, load_bundle, write_bundle
from model.bundle.bundle_items import Item, encode_items
from model.bundle.signature import signing_key


def add_titles(source: Path, table: Path, options: ItemTableOptions, out: Path) -> tuple[Bundle, int]:
    """Write a copy of a bundle with titles and categories.

    The copy has a version of its own and is newer, so that a registry can hold both and the copy is served.

    Args:
        source: folder of the bundle.
        table: table of items, with columns of id, title and, if there is one, categories.
        options: how to read the table.
        out: folder of the copy.

    Returns:
        The new bundle, and how many of its items got a title.

    Raises:
        DataError: the table cannot be read or holds none of the bundle's items.
        BundleError: the bundle is damaged or not signed with the key, or `out` exists.
    """
    bundle = load_bundle(source, signing_key())
    known = {item.item_id for item in bundle.items}
    titles = {item.item_id: item for item in read_items(table, options) if item.item_id in known}
    if not titles:
        raise DataError(
            f"{table} holds no item of {source}; is its column of ids the right one? --item-column names it"
        )
    items = [_described(item, titles) for item in bundle.items]
    now = datetime.now(UTC)
    digest = hashlib.sha256(bundle.version.encode() + encode_items(items)).hexdigest()[:8]
    titled = replace(
        bundle,
        items=items,
        version=f"{now:%Y%m%dT%H%M%SZ}-{digest}",
        created=max(now.isoformat(timespec="seconds"), bundle.created),
    )
    write_bundle(out, titled, signing_key())
    return titled, len(titles)


def with_titles_of(bundle: Bundle, live: Bundle) -> Bundle:
    """Copy titles of the live bundle to items without one."""
    titles = {item.item_id: item for item in live.items if item.title is not None or item.categories}
    items = [item if item.title is not None or item.categories else _described(item, titles) for item in bundle.items]
    return replace(bundle, items=items)


def _described(item: Item, titles: Mapping[str, Item] | Mapping[str, ItemText]) -> Item:
    found = titles.get(item.item_id)
    return item if found is None else replace(item, title=found.title, categories=found.categories)
