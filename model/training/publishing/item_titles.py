"""Add the titles and genres of MovieLens' movies.dat to a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ingest.errors import DataError
from model.bundle.bundle import Bundle, load_bundle, write_bundle
from model.bundle.signature import signing_key


def add_titles(source: Path, movies: Path, out: Path) -> tuple[Bundle, int]:
    """Write a copy of a bundle with titles and categories.

    The version stays the same: the network is the same, so users' snapshots stay valid.

    Args:
        source: folder of the bundle.
        movies: file of lines `id::title::genre|genre` in Latin-1.
        out: folder of the copy.

    Returns:
        The new bundle, and how many of its items got a title.

    Raises:
        DataError: `movies` cannot be read.
        BundleError: the bundle is damaged or not signed with the key, or `out` exists.
    """
    bundle = load_bundle(source, signing_key())
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
