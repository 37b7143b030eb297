"""Tables and JSON in text, read by DuckDB in chunks."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from ingest.errors import DataError
from ingest.reading.column_names import FindColumns
from ingest.reading.dialect import Dialect

if TYPE_CHECKING:
    import _csv

ROWS = 1 << 16  # in a chunk
_MEMORY = "1GB"
_MAX_LINE_BYTES = 1 << 23
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
        "max_line_size": _MAX_LINE_BYTES,
        "buffer_size": _BUFFER_BYTES,
        "store_rejects": rejected is not None,
    }
    broken = [f"CASE WHEN contains({name}, chr(10)) THEN {name} END" for name in numbered if dialect.quote]
    chosen = ", ".join([*wanted, f"coalesce({', '.join([*broken, 'NULL', 'NULL'])})::VARCHAR"])
    connection = _connect()
    try:
        query = f"SELECT {chosen} FROM read_csv({_literal(str(path))}, {_options(settings)})"  # noqa: S608 - our names
        for batch in connection.sql(query).to_arrow_reader(ROWS):
            yield pa.RecordBatch.from_arrays(batch.columns, names=[*columns, _LINE_BREAKS])
        if rejected is not None:
            _count(connection, source, rejected)
    except duckdb.Error as error:
        raise DataError(_sentence(source, str(error), dialect)) from None
    finally:
        connection.close()


def read_json(path: Path, source: str, find: FindColumns) -> Iterator[pa.RecordBatch]:
    """Read columns of JSON objects as text.

    The file has one object a line, or one array of objects.

    Raises:
        DataError: with the line if DuckDB knows it.
    """
    connection = _connect()
    try:
        literal = _literal(str(path))
        described = connection.sql(f"DESCRIBE SELECT * FROM read_json_auto({literal})")  # noqa: S608 - our own file
        names = [row[0] for row in described.fetchall()]
        columns = find(names)
        types = _options({"columns": dict.fromkeys(columns, "VARCHAR"), "maximum_object_size": _MAX_LINE_BYTES})
        query = f"SELECT {', '.join(map(_identifier, columns))} FROM read_json({literal}, {types})"  # noqa: S608
        yield from connection.sql(query).to_arrow_reader(ROWS)
    except duckdb.Error as error:
        raise DataError(_sentence(source, str(error), None)) from None
    finally:
        connection.close()


def line_of(path: Path, dialect: Dialect, row: int) -> int:
    """Find the line of a row; row 0 follows the header.

    Reads the file up to that line, so it is for error messages only.
    """
    numbers: Iterator[int]
    with path.open(encoding="utf-8", newline="") as file:
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
        return next((line for position, line in enumerate(numbers) if position == wanted), 0)


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


def _connect() -> duckdb.DuckDBPyConnection:
    # One thread keeps the order of the file, and the memory bounded, whatever the machine has.
    config: dict[str, Any] = {
        "threads": 1,
        "memory_limit": _MEMORY,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "preserve_insertion_order": True,
    }
    connection = duckdb.connect(config=config)
    connection.execute("SET enable_progress_bar = false")  # it would be written to standard output, among the result
    return connection


def _count(connection: duckdb.DuckDBPyConnection, source: str, rejected: RejectedRows) -> None:
    query = "SELECT line, first(error_message ORDER BY error_type) FROM reject_errors GROUP BY line ORDER BY line"
    rows = connection.sql(query).fetchall()
    rejected.count = len(rows)
    if rows:
        rejected.first = f"{source}:{rows[0][0]}: {rows[0][1].splitlines()[0]}"


def _sentence(source: str, message: str, dialect: Dialect | None) -> str:
    """Return one sentence for an error of DuckDB, with the line."""
    line = re.search(r"Line: (\d+)", message) or re.search(r"in line (\d+)", message)
    where = f"{source}:{line[1]}" if line else source
    expected = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if expected:
        return (
            f"{where} has {expected[2]} fields instead of {expected[1]}; correct the line, or skip up to a share of "
            "bad rows with --skip-bad-rows"
        )
    if "unterminated quote" in message:
        return (
            f"{where} has a quote that is not closed, or text after a closing quote; double the quotes inside a "
            "field, or skip up to a share of bad rows with --skip-bad-rows"
        )
    if "unicode" in message.lower() or "utf-8" in message.lower():
        return f"{where} is not UTF-8; name its encoding with --encoding, for example latin-1"
    if "Maximum line size" in message or "maximum_object_size" in message:
        return f"{where} is longer than {_MAX_LINE_BYTES >> 20} MiB; is a quote missing before it?"
    if dialect is None:
        return f"{where} is no JSON: {message.splitlines()[0][:200]}; correct the line"
    return f"{where} cannot be read: {message.splitlines()[0][:200]}; write the table as CSV or Parquet"


def _options(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
