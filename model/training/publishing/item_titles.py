"""Titles and genres for a bundle's items, from MovieLens' own movies file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model.bundle.bundle import Bundle, load_bundle, write_bundle
from model.bundle.signature import signing_key
from model.training.errors import DataError


def attach_titles(source: Path, movies: Path, out: Path) -> tuple[Bundle, int]:
    """Write the bundle `source` again as `out`, its items titled from `movies` (`id::title::genre|genre`, latin-1).

    Returns the new bundle and how many items got a title. The version stays: the network is the same, so users'
    memos stay valid. Raises `DataError` and `BundleError`.
    """
    bundle = load_bundle(source)
    titles = _read_movies(movies)
    items = []
    for item in bundle.items:
        title, categories = titles.get(item.item_id, (item.title, item.categories))
        items.append(replace(item, title=title, categories=categories))
    titled = replace(bundle, items=items)
    write_bundle(out, titled, signing_key())
    return titled, sum(item.item_id in titles for item in items)


def _read_movies(path: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    titles = {}
    for number, line in enumerate(lines, start=1):
        parts = line.split("::")
        if len(parts) != 3:
            raise DataError(f"{path}, line {number}: expected id::title::genre|genre")
        titles[parts[0]] = (parts[1], tuple(parts[2].split("|")))
    if not titles:
        raise DataError(f"{path} holds no titles")
    return titles
