"""Events from a file of any common form, in chunks, with a summary of what was read and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.column_names import Columns, find_columns
from ingest.dialect import Dialect, detect_dialect
from ingest.errors import DataError
from ingest.identifiers import IdReader
from ingest.options import ReadOptions
from ingest.parquet_table import is_parquet, read_parquet
from ingest.plain_text import open_plain_text
from ingest.text_table import ROWS, RejectedRows, line_of, read_json, read_table, swallowed_row
from ingest.timestamps import TimeParser


@dataclass(frozen=True, slots=True)
class EventChunk:
    """Some events, in the order of the file.

    Attributes:
        users, items: (n,) ids, each valid.
        nanoseconds: (n,) int64 since 1970; None if the file has no times and its rows are in order.
    """

    users: pa.StringArray
    items: pa.StringArray
    nanoseconds: NDArray[np.int64] | None


@dataclass(slots=True)
class ReadSummary:
    """Report of reading one file: what was read, and what was left out.

    Attributes:
        source: the file's name.
        form: what the file was recognised as, with its columns.
        events: events read.
        bad_rows: rows left out, and `first_bad`, the reason of the first.
        notices: what a person should know, each a sentence.
    """

    source: str
    form: str = ""
    events: int = 0
    bad_rows: int = 0
    first_bad: str = ""
    notices: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The summary as lines of text."""
        found = [f"{self.source}: {self.form}: {self.events:,} events"]
        if self.bad_rows:
            found.append(f"{self.source}: {self.bad_rows:,} rows left out; the first: {self.first_bad}")
        return found + [f"{self.source}: {notice}" for notice in self.notices]


def read_events(path: Path, options: ReadOptions, summary: ReadSummary) -> Iterator[EventChunk]:
    """Read the events of `path`: CSV and its relatives, Parquet, JSON lines, or lines of `user item item …`.

    The content decides what a file is, not its name. The order is that of the file.

    Args:
        path: the file, perhaps compressed (gzip, bzip2, xz, zstandard), perhaps in UTF-16.
        options: what the content does not say.
        summary: filled while reading.

    Raises:
        DataError: the file is not understood or holds a bad row; the message has file, line and remedy.
    """
    try:
        parquet = is_parquet(path)
    except OSError as error:
        raise DataError(f"{_shown(path)} cannot be read: {error.strerror or error}") from None
    if parquet:
        yield from _parquet(path, options, summary)
    else:
        yield from _text(path, options, summary)
    if not summary.events:
        raise DataError(f"{summary.source} holds no events")


def _text(path: Path, options: ReadOptions, summary: ReadSummary) -> Iterator[EventChunk]:
    with open_plain_text(path, options.encoding) as plain:
        dialect = detect_dialect(plain, _shown(path), options)
        if dialect.kind == "histories":
            yield from _histories(plain, summary, options)
        elif dialect.kind == "json":
            yield from _json(plain, options, summary)
        else:
            yield from _table(plain, dialect, options, summary)


def _shown(path: Path) -> str:
    """The path as text that can be printed, whatever bytes its name has."""
    return str(path).encode("utf-8", "replace").decode()


class _Cleaner:
    """Turns raw columns into events, and counts or refuses bad rows."""

    def __init__(self, columns: Columns, options: ReadOptions, summary: ReadSummary) -> None:
        self._columns = columns
        self._options = options
        self._summary = summary
        self._users, self._items, self._times = IdReader(), IdReader(), TimeParser()

    def clean(self, batch: pa.RecordBatch, where: Callable[[int], str]) -> EventChunk:
        """The events of a batch; `where` names the place of a row for a message."""
        users, items = self._users.read(batch[self._columns.user]), self._items.read(batch[self._columns.item])
        problems = [(users.bad, self._columns.user, users.reason), (items.bad, self._columns.item, items.reason)]
        nanoseconds = None
        if self._columns.time is not None:
            times = self._times.parse(batch[self._columns.time])
            problems.append((times.bad, self._columns.time, times.reason))
            nanoseconds = times.nanoseconds
        bad = np.logical_or.reduce([mask for mask, _, _ in problems])
        if bad.any():
            self._report(batch, problems, bad, where)
        keep = ~bad
        mask = pa.array(keep)
        self._summary.events += int(keep.sum())
        return EventChunk(
            users.values.filter(mask), items.values.filter(mask), None if nanoseconds is None else nanoseconds[keep]
        )

    def _report(
        self,
        batch: pa.RecordBatch,
        problems: list[tuple[NDArray[np.bool_], str, str]],
        bad: NDArray[np.bool_],
        where: Callable[[int], str],
    ) -> None:
        if not self._summary.bad_rows:
            row = int(np.argmax(bad))
            name, reason = next((name, reason) for mask, name, reason in problems if mask[row])
            value = batch[name][row].as_py()
            shown = "" if value is None else f" {str(value)[:60]!r}"
            self._summary.first_bad = f"{where(row)}: {name}{shown} {reason}"
            if not self._options.max_bad_rows:
                raise DataError(
                    f"{self._summary.first_bad}; correct the row, or skip up to a share of bad rows with --skip-bad-rows"
                )
        self._summary.bad_rows += int(bad.sum())

    def finish(self) -> None:
        """Add what is noteworthy about the columns; raises `DataError` for too many bad rows."""
        summary, allowed = self._summary, self._options.max_bad_rows
        rows = summary.events + summary.bad_rows
        if summary.bad_rows > allowed * rows:
            raise DataError(
                f"{summary.source}: {summary.bad_rows:,} of {rows:,} rows are bad, more than --skip-bad-rows {allowed}; "
                f"the first: {summary.first_bad}"
            )
        for reader, name in ((self._users, self._columns.user), (self._items, self._columns.item)):
            if reader.from_floats:
                summary.notices.append(f"{name} holds whole numbers written as floats; 9.0 is read as the id '9'")
            if reader.stripped:
                summary.notices.append(f"{name}: spaces around {reader.stripped:,} ids were removed")
        if self._columns.time is None:
            summary.notices.append("no column of times: the rows count as being in order of time")


def _form(kind: str, columns: Columns) -> str:
    time = columns.time or "the order of the rows"
    return f"{kind} with user {columns.user!r}, item {columns.item!r}, time {time!r}"


def _table(plain: Path, dialect: Dialect, options: ReadOptions, summary: ReadSummary) -> Iterator[EventChunk]:
    columns = find_columns(summary.source, dialect.names, options)
    separator = {"\t": "tabs", " ": "spaces"}.get(dialect.delimiter, repr(dialect.delimiter))
    summary.form = _form(f"table separated by {separator}", columns)
    rejected = RejectedRows() if options.max_bad_rows else None
    cleaner = _Cleaner(columns, options, summary)
    wanted = [name for name in columns if name is not None]
    row = 0
    for batch in read_table(plain, summary.source, dialect, wanted, rejected):
        begin = row

        def where(number: int, begin: int = begin) -> str:
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
    cleaner: _Cleaner | None = None
    row = 0
    for batch in read_json(plain, summary.source, options):
        if cleaner is None:
            columns = find_columns(summary.source, batch.schema.names, options)
            summary.form = _form("JSON", columns)
            cleaner = _Cleaner(columns, options, summary)
        begin = row
        yield cleaner.clean(batch, lambda number, begin=begin: f"{summary.source}, object {begin + number + 1}")
        row += len(batch)
    if cleaner is not None:
        cleaner.finish()


def _parquet(path: Path, options: ReadOptions, summary: ReadSummary) -> Iterator[EventChunk]:
    cleaner: _Cleaner | None = None
    row = 0
    for batch in read_parquet(path, summary.source, options):
        if cleaner is None:
            columns = find_columns(summary.source, batch.schema.names, options)
            summary.form = _form("Parquet", columns)
            cleaner = _Cleaner(columns, options, summary)
        begin = row
        yield cleaner.clean(batch, lambda number, begin=begin: f"{summary.source}, row {begin + number + 1}")
        row += len(batch)
    if cleaner is not None:
        cleaner.finish()


def _histories(plain: Path, summary: ReadSummary, options: ReadOptions) -> Iterator[EventChunk]:
    """Lines of `user item item …`, oldest item first."""
    summary.form = "histories, a line `user item item …` for each user"
    cleaner = _Cleaner(Columns("user", "item", None), options, summary)
    users: list[str] = []
    items: list[str] = []
    lines: list[int] = []

    def chunk() -> EventChunk:
        batch = pa.record_batch([pa.array(users, pa.string()), pa.array(items, pa.string())], ["user", "item"])
        return cleaner.clean(batch, lambda number: f"{summary.source}:{lines[number]}")

    with plain.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                fields = line.split()
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
