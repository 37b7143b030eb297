"""DuckDB as the reader of text: settings, and errors as sentences."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pyarrow as pa

MAX_LINE_BYTES = 1 << 23
# Arrow's reader passes errors of DuckDB on as OSError.
ERRORS = (duckdb.Error, OSError, pa.ArrowException)
_MEMORY = "1GB"


def connect() -> duckdb.DuckDBPyConnection:
    """Open a database in memory, for one reader."""
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


def error_sentence(source: str, message: str, *, json: bool) -> str:
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
        return f"{where} is longer than {MAX_LINE_BYTES >> 20} MiB; is a quote missing before it?"
    if json:
        item = re.search(r"in record/value (\d+)", message)
        what = re.sub(
            r'Invalid Input Error: |( in file ".*?"),?|, in line \d+| in line \d+', "", message.splitlines()[0]
        )
        shown = f"{source}, value {item[1]}," if item else where
        return f"{shown} is no JSON ({what.strip(' .')[:200]}); correct it"
    return f"{where} cannot be read: {message.splitlines()[0][:200]}; write the table as CSV or Parquet"


def sql_options(settings: dict[str, Any]) -> str:
    """Return settings as named arguments."""
    return ", ".join(f"{name} = {sql_literal(value)}" for name, value in settings.items())


def sql_literal(value: object) -> str:
    """Return a value as SQL."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{sql_literal(name)}: {sql_literal(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def sql_identifier(name: str) -> str:
    """Return the name of a column as SQL."""
    return '"' + name.replace('"', '""') + '"'
