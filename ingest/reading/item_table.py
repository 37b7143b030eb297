"""Read a table of items, whatever its form."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.column_names import FindColumns, find_item_columns
from ingest.reading.csv_dialect import Dialect, detect_dialect, header_names
from ingest.reading.csv_table import read_table, swallowed_row
from ingest.reading.file_signatures import check_file
from ingest.reading.json_objects import read_json
from ingest.reading.parquet_table import is_parquet, read_parquet
from ingest.reading.plain_text import open_plain_text
from ingest.reading.values.identifiers import IdReader

_DELIMITERS = ("\t", ",", ";", "|", "::")
_MOVIELENS = ("item", "title", "categories")  # movies.dat: `id::title::category|category`, without a header
_SAMPLE = 1 << 16


class ItemText(NamedTuple):
    """Id, title and categories of an item."""

    item_id: str
    title: str | None
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ItemTableOptions:
    """Options that a user gives.

    Where a name is None, the content decides.
    """

    reading: ReadOptions = field(default_factory=ReadOptions)
    title_column: str | None = None
    categories_column: str | None = None


def read_items(path: Path, options: ItemTableOptions) -> Iterator[ItemText]:
    """Read the items of a table in text, Parquet or JSON.

    Raises:
        DataError: the file is not understood or holds a bad id; the message has file and remedy.
    """
    source = str(path).encode("utf-8", "replace").decode()

    def find(names: Sequence[str]) -> list[str]:
        return find_item_columns(source, names, options.reading, options.title_column, options.categories_column)

    check_file(path)
    if is_parquet(path):
        yield from _items(source, read_parquet(path, source, find))
        return
    with open_plain_text(path, options.reading.encoding) as plain:
        head = text_head(plain)
        if is_json(head, options.reading):
            yield from _items(source, read_json(plain, source, find))
            return
        dialect = detect_item_dialect(plain, source, head, options.reading, find)
        yield from _items(source, read_item_table(plain, source, dialect, find))


def text_head(plain: Path) -> str:
    """Return the begin of a text, without white space around it."""
    with plain.open("rb") as file:
        return file.read(_SAMPLE).decode("utf-8", "replace").removeprefix("\ufeff").strip()


def is_json(head: str, reading: ReadOptions) -> bool:
    """Return whether a text with this begin is read as JSON."""
    return head[:1] in ("{", "[") and reading.columns is None


def detect_item_dialect(plain: Path, source: str, head: str, reading: ReadOptions, find: FindColumns) -> Dialect:
    """Detect the form of a table of items.

    Args:
        plain: plain UTF-8.
        source: the file's name for messages.
        head: begin of the text.
        reading: what the user has given.
        find: finds the column of ids, and others behind it.

    Raises:
        DataError: there are no items, or no column of ids.
    """
    if not head:
        raise DataError(f"{source} holds no items")
    if reading.columns is not None:
        return detect_dialect(plain, source, reading)
    line = head.splitlines()[0]
    refusal, most_names = DataError(""), 0
    for delimiter in (reading.delimiter,) if reading.delimiter else _DELIMITERS:
        names = list(header_names(line, delimiter))
        try:
            columns = find(names)
        except DataError as error:
            if len(names) > most_names:
                refusal, most_names = error, len(names)
            continue
        if len(columns) > 1:
            item, other = columns[:2]
            named = replace(reading, user_column=other, item_column=item, delimiter=delimiter)
            return detect_dialect(plain, source, named)
    if len(line.split("::")) == len(_MOVIELENS):
        return Dialect("table", delimiter="::", names=_MOVIELENS)
    raise refusal


def read_item_table(plain: Path, source: str, dialect: Dialect, find: FindColumns) -> Iterator[pa.RecordBatch]:
    """Read columns of a table of items as text.

    Raises:
        DataError: a row cannot be split, or a quoted field holds whole rows.
    """
    for batch in read_table(plain, source, dialect, find(dialect.names), None):
        if swallowed_row(batch, dialect, None) is not None:
            raise DataError(f"{source} has a quoted field that holds whole rows: a quote is missing or one too many")
        yield batch.select(batch.schema.names[:-1])


def _items(source: str, batches: Iterator[pa.RecordBatch]) -> Iterator[ItemText]:
    ids, row = IdReader(), 0
    for batch in batches:
        found = ids.read(batch.column(0))
        if found.bad.any():
            bad = row + int(found.bad.argmax()) + 1
            raise DataError(f"{source}, row {bad}: the id of an item {found.reason}; correct it")
        titles = batch.column(1).cast(pa.string()).to_pylist()
        has_categories = len(batch.schema) > 2
        categories = batch.column(2).to_pylist() if has_categories else [None] * len(titles)
        for item_id, title, own in zip(found.values.to_pylist(), titles, categories, strict=True):
            yield ItemText(item_id, title.strip() if title and title.strip() else None, _parse_categories(own))
        row += len(titles)


def _parse_categories(value: object) -> tuple[str, ...]:
    """Return categories of a list, of JSON, or of separated text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, list | tuple):
        nested = [inner for own in value for inner in (own if isinstance(own, list | tuple) else [own])]
        names = [str(name).strip() for name in nested if name is not None]
    else:
        names = [] if value is None else [name.strip() for name in re.split(r"[|;]", str(value))]
    return tuple(dict.fromkeys(name for name in names if name))
