"""Rows of a table of items, with all columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ingest.errors import DataError
from ingest.options import ReadOptions
from ingest.reading.column_names import find_fields
from ingest.reading.csv_dialect import Dialect, detect_dialect, header_names
from ingest.reading.csv_table import read_table, swallowed_row
from ingest.reading.file_signatures import check_file
from ingest.reading.parquet_table import is_parquet, read_parquet
from ingest.reading.plain_text import open_plain_text

TYPES_KEY = "attribute_types"  # the only key of an export's first line
_DELIMITERS = ("\t", ",", ";", "|", "::")
_MOVIELENS = ("item", "title", "categories")  # movies.dat: `id::title::category|category`, without a header
_SAMPLE = 1 << 16

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Options that a user gives; what is not given, the content decides.

    Attributes:
        reading: form of the file.
        fields: columns of item, title, categories and available.
        names: names of attributes by column.
        left_out: columns that are not loaded.
        times: columns of times.
        sets: columns whose text is a set.
        vector: column of a vector.
        separator: between two strings of a set.
    """

    reading: ReadOptions = field(default_factory=ReadOptions)
    fields: Mapping[str, str | None] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    times: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    vector: str | None = None
    separator: str = "|"


def read_rows(path: Path, options: TableOptions) -> Iterator[Row]:
    """Yield the rows of a file, in its order.

    Values of a text table are text or None; of Parquet and JSON they have types.

    Raises:
        DataError: the file is not understood; the message has file and remedy.
    """
    source = str(path).encode("utf-8", "replace").decode()
    check_file(path)
    if is_parquet(path):
        for batch in read_parquet(path, source, lambda names: names):
            yield from batch.to_pylist()
        return
    with open_plain_text(path, options.reading.encoding) as plain:
        with plain.open("rb") as file:
            head = file.read(_SAMPLE).decode("utf-8", "replace").removeprefix("\ufeff").strip()
        if not head:
            raise DataError(f"{source} holds no items")
        if head[0] in "{[" and options.reading.columns is None:
            yield from map(_flat, _objects(plain, source, array=head[0] == "["))
            return
        dialect = _dialect(plain, source, head.splitlines()[0], options)
        for batch in read_table(plain, source, dialect, dialect.names, None):
            if swallowed_row(batch, dialect, None) is not None:
                raise DataError(
                    f"{source} has a quoted field that holds whole rows: a quote is missing or one too many"
                )
            yield from batch.select(batch.schema.names[:-1]).to_pylist()


def is_text_table(path: Path, options: TableOptions) -> bool:
    """Return whether the file's values are text without types."""
    if is_parquet(path):
        return False
    with open_plain_text(path, options.reading.encoding) as plain, plain.open("rb") as file:
        head = file.read(_SAMPLE).decode("utf-8", "replace").removeprefix("\ufeff").strip()
    return head[:1] not in ("{", "[") or options.reading.columns is not None


def _objects(plain: Path, source: str, *, array: bool) -> Iterator[Row]:
    """Yield the objects of JSON lines, or of one array."""
    with plain.open(encoding="utf-8-sig") as file:
        try:
            texts = json.load(file) if array else (json.loads(line) for line in file if line.strip())
            for number, found in enumerate(texts, start=1):
                if not isinstance(found, dict):
                    raise DataError(f"{source}, object {number} is no JSON object")
                yield found
        except ValueError as error:
            raise DataError(f"{source} is not valid JSON: {error}") from None


def _flat(found: Row) -> Row:
    """Put the values of `attributes` beside the other fields."""
    attributes = found.get("attributes")
    if not isinstance(attributes, dict):
        return found
    return {**attributes, **{name: value for name, value in found.items() if name != "attributes"}}


def _dialect(plain: Path, source: str, line: str, options: TableOptions) -> Dialect:
    """Detect the form of a text table by its first line."""
    reading = options.reading
    if reading.columns is not None:
        return detect_dialect(plain, source, reading)
    refusal, most_names = DataError(""), 0
    for delimiter in (reading.delimiter,) if reading.delimiter else _DELIMITERS:
        names = list(header_names(line, delimiter))
        try:
            item = find_fields(source, names, options.fields)["item"]
        except DataError as error:
            if len(names) > most_names:
                refusal, most_names = error, len(names)
            continue
        other = next((name for name in names if name != item), None)
        if other is not None:
            named = replace(reading, user_column=other, item_column=item, delimiter=delimiter)
            return detect_dialect(plain, source, named)
    if len(line.split("::")) == len(_MOVIELENS):
        return Dialect("table", delimiter="::", names=_MOVIELENS)
    raise refusal


def column_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all columns, in order of their first use."""
    return list(dict.fromkeys(name for row in rows for name in row))
