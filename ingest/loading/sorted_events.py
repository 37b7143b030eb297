"""Sort the events of a file by time.

DuckDB sorts on disk if they do not fit in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import duckdb
import numpy as np
import pyarrow as pa

from ingest.read_options import ReadOptions
from ingest.reading.event_cleaner import ReadSummary
from ingest.reading.event_table import read_events

_ROWS = 1 << 14
_MEMORY = "1GB"


class StoredEvent(NamedTuple):
    """One event to load.

    `occurrence` tells apart rows of one user, item and time; `nanoseconds` is None in a file without times. `type` is
    None for the default.
    """

    user_id: str
    item_id: str
    nanoseconds: int | None
    occurrence: int
    type: str | None = None
    value: float | None = None


class SortedEvents:
    """All events of a file in order of time; a context manager.

    Events of one time keep the order of the file.
    """

    def __init__(self, path: Path, options: ReadOptions, summary: ReadSummary) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="recblr-")
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY,
            "temp_directory": self._folder.name,
        }
        self._connection = duckdb.connect(str(Path(self._folder.name) / "events.duckdb"), config=config)
        # The bar would be written to standard output, among the result.
        self._connection.execute("SET enable_progress_bar = false")
        self._connection.execute(
            "CREATE TABLE events (number BIGINT, user_id VARCHAR, item_id VARCHAR, nanoseconds BIGINT, "
            "type VARCHAR, value DOUBLE)"
        )
        count = 0
        for chunk in read_events(path, options, summary):
            times = (
                pa.nulls(len(chunk.users), pa.int64()) if chunk.nanoseconds is None else pa.array(chunk.nanoseconds)
            )
            numbers = pa.array(np.arange(count, count + len(chunk.users)))
            types = pa.nulls(len(times), pa.string()) if chunk.types is None else chunk.types
            values = pa.nulls(len(times), pa.float64()) if chunk.values is None else chunk.values
            columns = [numbers, chunk.users, chunk.items, times, types, values]
            self._insert(pa.table(columns, names=["number", "u", "i", "t", "y", "v"]))
            count += len(chunk.users)
        # An event keeps its number in the order of loading, so that a load can go on where it was.
        self._connection.execute(
            "CREATE TABLE sorted AS SELECT row_number() OVER (ORDER BY nanoseconds, number) - 1 AS position, "
            "user_id, item_id, nanoseconds, row_number() OVER "
            "(PARTITION BY user_id, item_id, nanoseconds ORDER BY number) - 1 AS occurrence, type, value "
            "FROM events ORDER BY position"
        )
        self._connection.execute("DROP TABLE events")
        self._count = count

    def __len__(self) -> int:
        return self._count

    def read(self, begin: int) -> Iterator[StoredEvent]:
        """Yield the events from position `begin` on."""
        columns = "user_id, item_id, nanoseconds, occurrence, type, value"
        query = f"SELECT {columns} FROM sorted WHERE position >= {begin} ORDER BY position"  # noqa: S608 - a number
        for batch in self._connection.sql(query).to_arrow_reader(_ROWS):
            yield from map(StoredEvent, *(column.to_pylist() for column in batch.columns))

    def _insert(self, chunk: pa.Table) -> None:
        self._connection.register("chunk", chunk)
        self._connection.execute("INSERT INTO events SELECT number, u, i, t, y, v FROM chunk")
        self._connection.unregister("chunk")

    def close(self) -> None:
        """Remove the temporary files."""
        self._connection.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
