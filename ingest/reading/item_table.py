"""Detect the form of a table of items, and read its columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.column_names import FindColumns
from ingest.reading.csv_dialect import Dialect, detect_dialect, header_names
from ingest.reading.csv_table import read_table, swallowed_row

_DELIMITERS = ("\t", ",", ";", "|", "::")
_MOVIELENS = ("item", "title", "categories")  # movies.dat: `id::title::category|category`, without a header
_SAMPLE = 1 << 16


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
