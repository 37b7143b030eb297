"""Tables in text, read by DuckDB in chunks."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from ingest.errors import DataError
from ingest.reading.csv_dialect import Dialect
from ingest.reading.duckdb_reader import ERRORS, MAX_LINE_BYTES, connect, error_sentence, sql_literal, sql_options

if TYPE_CHECKING:
    import _csv

ROWS = 1 << 16  # in a chunk
_BUFFER_BYTES = 1 << 24  # read at a time; a few are held
_LINE_BREAKS = "line breaks"  # an extra column: the first field of a row that has a line break
_MIN_SWALLOWED_ROWS = 3  # without times; text of two lines may have as many commas as a row
_TIME = re.compile(r"\d+(\.\d*)?$|\d{4}-\d\d-\d\d")


class RejectedRows:
    """Rows that DuckDB could not split into fields.

    Attributes:
        count: their number.
        first: the line and the reason of the first.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = ""


def read_table(
    path: Path, source: str, dialect: Dialect, columns: Sequence[str], rejected: RejectedRows | None
) -> Iterator[pa.RecordBatch]:
    """Read columns of a table as text, in file order.

    Each batch has one more column, which `swallowed_row` needs.

    Args:
        path: plain UTF-8.
        source: the file's name for messages.
        columns: names to read, of `dialect.names`.
        rejected: counts rows that cannot be split and leaves them out; None: the first raises.

    Raises:
        DataError: with the line.
    """
    numbered = {f"c{number}": "VARCHAR" for number in range(len(dialect.names))}
    wanted = [f"c{dialect.names.index(name)}" for name in columns]
    settings: dict[str, Any] = {
        "columns": numbered,
        "auto_detect": False,
        "header": dialect.header,
        "delim": dialect.delimiter,
        "quote": dialect.quote,
        "escape": dialect.escape,
        "strict_mode": True,
        "nullstr": "",
        "skip": dialect.skip,
        "max_line_size": MAX_LINE_BYTES,
        "buffer_size": _BUFFER_BYTES,
        "store_rejects": rejected is not None,
    }
    broken = [f"CASE WHEN contains({name}, chr(10)) THEN {name} END" for name in numbered if dialect.quote]
    chosen = ", ".join([*wanted, f"coalesce({', '.join([*broken, 'NULL', 'NULL'])})::VARCHAR"])
    connection = connect()
    try:
        query = f"SELECT {chosen} FROM read_csv({sql_literal(str(path))}, {sql_options(settings)})"  # noqa: S608 - our names
        for batch in connection.sql(query).to_arrow_reader(ROWS):
            yield pa.RecordBatch.from_arrays(batch.columns, names=[*columns, _LINE_BREAKS])
        if rejected is not None:
            _count(connection, source, rejected)
    except ERRORS as error:
        raise DataError(error_sentence(source, str(error), json=False)) from None
    finally:
        connection.close()


def line_of(path: Path, dialect: Dialect, row: int) -> int:
    """Find the line of a row; row 0 follows the header.

    Reads the file up to that line, so it is for error messages only.
    """
    numbers: Iterator[int]
    with path.open(encoding="utf-8", newline="") as file:
        for _ in range(dialect.skip):
            file.readline()
        if dialect.kind != "table" or len(dialect.delimiter) > 1 or not dialect.quote:
            numbers = (number for number, line in enumerate(file, start=1) if line.strip())
        else:
            escape = None if dialect.escape == dialect.quote else dialect.escape
            reader = csv.reader(
                file,
                delimiter=dialect.delimiter,
                quotechar=dialect.quote,
                escapechar=escape,
                doublequote=escape is None,
            )
            numbers = _record_lines(reader)
        wanted = row + dialect.header
        return next((dialect.skip + line for position, line in enumerate(numbers) if position == wanted), 0)


def swallowed_row(batch: pa.RecordBatch, dialect: Dialect, time: str | None) -> int | None:
    """Find a field that contains whole rows because of an unbalanced quote.

    Returns the index of its row.
    """
    column = batch[_LINE_BREAKS]
    if column.null_count == len(column):
        return None
    for row, value in enumerate(column.to_pylist()):
        if value is not None and _holds_rows(value, dialect, time):
            return row
    return None


def _holds_rows(value: str, dialect: Dialect, time: str | None) -> bool:
    """Return whether the inner lines of a field look like rows.

    They have as many fields as a row, and a time where one belongs.
    """
    rows = [line.split(dialect.delimiter) for line in value.split("\n")[1:-1]]
    if not all(len(row) == len(dialect.names) for row in rows):
        return False
    if time is None:
        return len(rows) >= _MIN_SWALLOWED_ROWS
    position = dialect.names.index(time)
    return bool(rows) and all(_TIME.match(row[position].strip('" ')) for row in rows)


def _record_lines(reader: _csv.Reader) -> Iterator[int]:
    while True:
        begin = reader.line_num + 1
        try:
            record = next(reader)
        except (StopIteration, csv.Error):
            return
        if record:
            yield begin


def _count(connection: duckdb.DuckDBPyConnection, source: str, rejected: RejectedRows) -> None:
    query = "SELECT line, first(error_message ORDER BY error_type) FROM reject_errors GROUP BY line ORDER BY line"
    rows = connection.sql(query).fetchall()
    rejected.count = len(rows)
    if rows:
        rejected.first = f"{source}:{rows[0][0]}: {rows[0][1].splitlines()[0]}"
