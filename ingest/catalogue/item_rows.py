"""Rows of a table of items, with all columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.column_names import find_fields
from ingest.reading.file_signatures import check_file
from ingest.reading.item_table import detect_item_dialect, is_json, read_item_table, text_head
from ingest.reading.parquet_table import is_parquet, read_parquet
from ingest.reading.plain_text import open_plain_text

TYPES_KEY = "attribute_types"  # the only key of an export's first line

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

    def find(names: Sequence[str]) -> list[str]:
        item = find_fields(source, names, options.fields)["item"]
        return [item, *(name for name in names if name != item)]

    check_file(path)
    if is_parquet(path):
        for batch in read_parquet(path, source, lambda names: names):
            yield from batch.to_pylist()
        return
    with open_plain_text(path, options.reading.encoding) as plain:
        head = text_head(plain)
        if is_json(head, options.reading):
            yield from map(_flat, _objects(plain, source, array=head[0] == "["))
            return
        dialect = detect_item_dialect(plain, source, head, options.reading, find)
        for batch in read_item_table(plain, source, dialect, lambda names: names):
            yield from batch.to_pylist()


def is_text_table(path: Path, options: TableOptions) -> bool:
    """Return whether the file's values are text without types."""
    if is_parquet(path):
        return False
    with open_plain_text(path, options.reading.encoding) as plain:
        return not is_json(text_head(plain), options.reading)


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


def column_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all columns, in order of their first use."""
    return list(dict.fromkeys(name for row in rows for name in row))
