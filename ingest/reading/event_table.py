"""Read events from a file of any common form, in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.column_names import Columns, FindColumns, find_columns
from ingest.reading.csv_dialect import Dialect, detect_dialect
from ingest.reading.csv_table import ROWS, RejectedRows, line_of, read_table, swallowed_row
from ingest.reading.event_cleaner import EventChunk, EventCleaner, ReadSummary
from ingest.reading.file_signatures import check_file
from ingest.reading.json_objects import read_json
from ingest.reading.parquet_table import is_parquet, read_parquet
from ingest.reading.plain_text import open_plain_text


def read_events(path: Path, options: ReadOptions, summary: ReadSummary) -> Iterator[EventChunk]:
    """Read the events of a file in file order.

    The content decides what a file is, not its name: a table in text, Parquet, JSON, or lines of
    `user item item …`.

    Args:
        path: the file, perhaps compressed (gzip, bzip2, xz, zstandard), perhaps in UTF-16.
        options: settings that detection cannot determine.
        summary: filled while reading.

    Raises:
        DataError: the file is not understood or holds a bad row; the message has file, line and remedy.
    """
    check_file(path)
    if is_parquet(path):
        yield from _parquet(path, options, summary)
    else:
        yield from _text(path, options, summary)
    if not summary.events:
        left_out = f"; {summary.bad_rows:,} rows were left out, the first: {summary.first_bad}" * bool(
            summary.bad_rows
        )
        raise DataError(f"{summary.source} holds no events{left_out}")


def _text(path: Path, options: ReadOptions, summary: ReadSummary) -> Iterator[EventChunk]:
    with open_plain_text(path, options.encoding) as plain:
        dialect = detect_dialect(plain, _shown(path), options)
        if dialect.kind == "histories":
            yield from _histories(plain, dialect, summary, options)
        elif dialect.kind == "json":
            yield from _json(plain, options, summary)
        else:
            yield from _table(plain, dialect, options, summary)


def _shown(path: Path) -> str:
    """Return the path as text that can be printed."""
    return str(path).encode("utf-8", "replace").decode()


def _form(kind: str, columns: Columns) -> str:
    time = columns.time or "the order of the rows"
    form = f"{kind} with user {columns.user!r}, item {columns.item!r}, time {time!r}"
    form += "" if columns.type is None else f", type {columns.type!r}"
    return form if columns.value is None else f"{form}, value {columns.value!r}"


def _table(plain: Path, dialect: Dialect, options: ReadOptions, summary: ReadSummary) -> Iterator[EventChunk]:
    columns = find_columns(summary.source, dialect.names, options)
    separator = {"\t": "tabs", " ": "spaces"}.get(dialect.delimiter, repr(dialect.delimiter))
    summary.form = _form(f"table separated by {separator}", columns)
    rejected = RejectedRows() if options.max_bad_rows else None
    cleaner = EventCleaner(columns, options, summary)
    wanted = [name for name in columns if name is not None]
    row = 0
    for batch in read_table(plain, summary.source, dialect, wanted, rejected):

        def where(number: int, begin: int = row) -> str:
            return f"{summary.source}:{line_of(plain, dialect, begin + number)}"

        if (swallowed := swallowed_row(batch, dialect, columns.time)) is not None:
            raise DataError(
                f"{where(swallowed)} has a quoted field that holds whole rows: a quote is missing or one too many; "
                "correct the line"
            )
        yield cleaner.clean(batch, where)
        row += len(batch)
    if rejected is not None and rejected.count:
        summary.first_bad = summary.first_bad or rejected.first
        summary.bad_rows += rejected.count
    cleaner.finish()


def _json(plain: Path, options: ReadOptions, summary: ReadSummary) -> Iterator[EventChunk]:
    yield from _typed(read_json(plain, summary.source, _finder(options, summary)), "JSON", "object", options, summary)


def _parquet(path: Path, options: ReadOptions, summary: ReadSummary) -> Iterator[EventChunk]:
    yield from _typed(
        read_parquet(path, summary.source, _finder(options, summary)), "Parquet", "row", options, summary
    )


def _finder(options: ReadOptions, summary: ReadSummary) -> FindColumns:
    """Return what finds user, item and, if there is one, time."""

    def find(names: Sequence[str]) -> list[str]:
        return [name for name in find_columns(summary.source, names, options) if name is not None]

    return find


def _typed(
    batches: Iterator[pa.RecordBatch], kind: str, unit: str, options: ReadOptions, summary: ReadSummary
) -> Iterator[EventChunk]:
    """Yield the events of batches with named columns; messages count `unit`."""
    cleaner: EventCleaner | None = None
    row = 0
    for batch in batches:
        if cleaner is None:
            columns = find_columns(summary.source, batch.schema.names, options)
            summary.form = _form(kind, columns)
            cleaner = EventCleaner(columns, options, summary)

        def where(number: int, begin: int = row) -> str:
            return f"{summary.source}, {unit} {begin + number + 1}"

        yield cleaner.clean(batch, where)
        row += len(batch)
    if cleaner is not None:
        cleaner.finish()


def _histories(plain: Path, dialect: Dialect, summary: ReadSummary, options: ReadOptions) -> Iterator[EventChunk]:
    """Yield the events of lines `user item item …`, oldest item first."""
    summary.form = "histories, a line `user item item …` for each user"
    cleaner = EventCleaner(Columns("user", "item", None), options, summary)
    users: list[str] = []
    items: list[str] = []
    lines: list[int] = []

    def chunk() -> EventChunk:
        batch = pa.record_batch([pa.array(users, pa.string()), pa.array(items, pa.string())], ["user", "item"])
        return cleaner.clean(batch, lambda number: f"{summary.source}:{lines[number]}")

    with plain.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                fields = line.split() if number > dialect.skip else []
                users.extend(fields[:1] * (len(fields) - 1))
                items.extend(fields[1:])
                lines.extend([number] * (len(fields) - 1))
                if len(users) >= ROWS:
                    yield chunk()
                    users, items, lines = [], [], []
        except UnicodeDecodeError as error:
            raise DataError(
                f"{summary.source} is not UTF-8 ({error.reason}); name its encoding with --encoding"
            ) from None
    if users:
        yield chunk()
    cleaner.finish()
