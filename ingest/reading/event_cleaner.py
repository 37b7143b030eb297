"""Turn raw columns into events, and count or refuse bad rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.column_names import Columns
from ingest.reading.values.identifiers import IdReader, Ids
from ingest.reading.values.timestamps import TimeParser
from ingest.reading.values.type_texts import TypeReader, read_values

_SKIP = "skip up to a share of bad rows with --skip-bad-rows"


@dataclass(frozen=True, slots=True)
class EventChunk:
    """Some events, in the order of the file.

    Attributes:
        users, items: (n,) valid ids, strings behind a dictionary.
        nanoseconds: (n,) int64 since 1970; None if the file has no times and its rows are in order.
        types: (n,) types, null for the default; None if no column of types was named.
        values: (n,) float64, null for none; None if no column of values was named.
    """

    users: pa.DictionaryArray
    items: pa.DictionaryArray
    nanoseconds: NDArray[np.int64] | None
    types: pa.DictionaryArray | None = None
    values: pa.DoubleArray | None = None


@dataclass(slots=True)
class ReadSummary:
    """Report of reading one file.

    Attributes:
        source: the file's name.
        form: what the file was recognised as, with its columns.
        events: events read.
        bad_rows: rows left out, and `first_bad`, the reason of the first.
        notices: what a person should know, each a sentence.
        times: of the oldest and the newest event, nanoseconds since 1970; None if there are none.
    """

    source: str
    form: str = ""
    events: int = 0
    bad_rows: int = 0
    first_bad: str = ""
    notices: list[str] = field(default_factory=list)
    times: tuple[int, int] | None = None

    def widen_times(self, oldest: int, newest: int) -> None:
        """Widen `times`."""
        before = self.times or (oldest, newest)
        self.times = min(oldest, before[0]), max(newest, before[1])

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        span = "" if self.times is None else f" from {_shown(self.times[0])} to {_shown(self.times[1])}"
        found = [f"{self.source}: {self.form}: {self.events:,} events{span}"]
        if self.bad_rows:
            found.append(f"{self.source}: {self.bad_rows:,} rows left out; the first: {self.first_bad}")
        return found + [f"{self.source}: {notice}" for notice in self.notices]


def _shown(nanoseconds: int) -> str:
    return f"{np.datetime64(nanoseconds, 'ns').astype('datetime64[s]')}Z"


def _text(value: pa.Scalar) -> str:
    try:
        return str(value.as_py())
    except ValueError:  # a time of day in nanoseconds is no Python object
        return str(value.value)


class EventCleaner:
    """Turns the raw columns of one file into events."""

    def __init__(self, columns: Columns, options: ReadOptions, summary: ReadSummary) -> None:
        self._columns = columns
        self._options = options
        self._summary = summary
        self._users, self._items, self._times = IdReader(), IdReader(), TimeParser(options.time_format)
        self._types = TypeReader(dict(options.type_names))

    def clean(self, batch: pa.RecordBatch, where: Callable[[int], str]) -> EventChunk:
        """Return the events of a batch.

        Args:
            batch: raw columns.
            where: names a row of the batch for a message.

        Raises:
            DataError: a row is bad, and no bad rows are allowed.
        """
        users, items = self._users.read(batch[self._columns.user]), self._items.read(batch[self._columns.item])
        problems = [(users.bad, self._columns.user, users.reason), (items.bad, self._columns.item, items.reason)]
        nanoseconds = None
        if self._columns.time is not None:
            times = self._times.parse(batch[self._columns.time])
            problems.append((times.bad, self._columns.time, times.reason))
            nanoseconds = times.nanoseconds
        else:
            problems.append((self._repeats_header(users, items), self._columns.user, "is the header once more"))
        types = values = None
        if self._columns.type is not None:
            types, mask, reason = self._types.read(batch[self._columns.type])
            problems.append((mask, self._columns.type, reason))
        if self._columns.value is not None:
            values, mask, reason = read_values(batch[self._columns.value])
            problems.append((mask, self._columns.value, reason))
        bad = np.logical_or.reduce([mask for mask, _, _ in problems])
        self._summary.events += len(bad) - int(bad.sum())
        if bad.any():
            self._report(batch, problems, bad, where)
            nanoseconds = None if nanoseconds is None else nanoseconds[~bad]
        if nanoseconds is not None and len(nanoseconds):
            self._summary.widen_times(int(nanoseconds.min()), int(nanoseconds.max()))
        columns = [users.values, items.values, types, values]
        if bad.any():
            kept = pa.array(~bad)
            columns = [None if column is None else column.filter(kept) for column in columns]
        return EventChunk(columns[0], columns[1], nanoseconds, columns[2], columns[3])

    def _repeats_header(self, users: Ids, items: Ids) -> NDArray[np.bool_]:
        """Return which rows hold the names of the columns again.

        Files that were joined have such rows.
        """
        result = np.zeros(len(users.bad), bool)
        user = users.values.dictionary.index(self._columns.user).as_py()
        item = items.values.dictionary.index(self._columns.item).as_py()
        if user >= 0 and item >= 0:
            result |= (users.values.indices.to_numpy() == user) & (items.values.indices.to_numpy() == item)
        return result

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
            value = batch[name][row]
            shown = f" {_text(value)[:60]!r}" if value.is_valid else ""
            self._summary.first_bad = f"{where(row)}: {name}{shown} {reason}"
            if not self._options.max_bad_rows:
                raise DataError(f"{self._summary.first_bad}; correct the row, or {_SKIP}")
        self._summary.bad_rows += int(bad.sum())

    def finish(self) -> None:
        """Add notices about the columns.

        Raises:
            DataError: more rows are bad than the options allow.
        """
        summary, allowed = self._summary, self._options.max_bad_rows
        rows = summary.events + summary.bad_rows
        if summary.bad_rows > allowed * rows:
            raise DataError(
                f"{summary.source}: {summary.bad_rows:,} of {rows:,} rows are bad, more than "
                f"--skip-bad-rows {allowed}; the first: {summary.first_bad}"
            )
        for reader, name in ((self._users, self._columns.user), (self._items, self._columns.item)):
            if reader.from_floats:
                summary.notices.append(f"{name} holds whole numbers written as floats; 9.0 is read as the id '9'")
            if reader.scientific:
                summary.notices.append(
                    f"{name} has ids such as {reader.scientific}, read as they stand; has a spreadsheet rounded them?"
                )
            if reader.stripped:
                summary.notices.append(f"{name}: spaces around {reader.stripped:,} ids were removed")
        if self._columns.time is None:
            summary.notices.append("no column of times: the rows count as being in order of time")
