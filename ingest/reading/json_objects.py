"""Objects of a JSON file, read by DuckDB in chunks."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ingest.errors import DataError
from ingest.reading.column_names import FindColumns
from ingest.reading.duckdb_reader import (
    ERRORS,
    MAX_LINE_BYTES,
    connect,
    error_sentence,
    sql_identifier,
    sql_literal,
    sql_options,
)

_ROWS = 1 << 16  # in a chunk


def read_json(path: Path, source: str, find: FindColumns) -> Iterator[pa.RecordBatch]:
    """Read columns of JSON objects as text.

    The file has one object a line, or one array of objects.

    Raises:
        DataError: with the line if DuckDB knows it.
    """
    connection = connect()
    try:
        literal = sql_literal(str(path))
        described = connection.sql(f"DESCRIBE SELECT * FROM read_json_auto({literal})")  # noqa: S608 - our own file
        kinds = {name: kind for name, kind, *_ in described.fetchall()}
        if list(kinds) == ["json"]:  # DuckDB's name for values that are no objects
            raise DataError(f"{source} holds no objects; write one a line, with the names of user, item and time")
        columns = find(list(kinds))
        for name in columns[:2]:  # the third may hold several categories
            if kinds[name].startswith(("STRUCT", "MAP")) or kinds[name].endswith("]"):
                raise DataError(f"{source}: {name} holds objects or lists; write its value as text or number")
        types = sql_options({"columns": dict.fromkeys(columns, "VARCHAR"), "maximum_object_size": MAX_LINE_BYTES})
        chosen = ", ".join(
            _unless_nested(name) if kinds[name] == "JSON" else sql_identifier(name) for name in columns
        )
        query = f"SELECT {chosen} FROM read_json({literal}, {types})"  # noqa: S608 - our own file
        yield from connection.sql(query).to_arrow_reader(_ROWS)
    except ERRORS as error:
        raise DataError(error_sentence(source, _with_true_line(path, str(error)), json=True)) from None
    finally:
        connection.close()


def _with_true_line(path: Path, message: str) -> str:
    """Return the message with the line that is no JSON.

    DuckDB names the one after it where it finds an end too early.
    """
    found = re.search(r"in line (\d+)", message)
    if found is None:
        return message
    begin = max(1, int(found[1]) - 1)
    with path.open("rb") as file:
        for number, line in enumerate(itertools.islice(file, begin - 1, begin + 1), start=begin):
            try:
                json.loads(line)
            except ValueError:
                return message.replace(found[0], f"in line {number}") if line.strip() else message
    return message


def _unless_nested(name: str) -> str:
    """Return an expression in which objects and lists are missing."""
    column = sql_identifier(name)
    return f"CASE WHEN left({column}, 1) NOT IN ('{{', '[') THEN {column} END AS {column}"
