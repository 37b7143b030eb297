"""Read files of events in chunks of columns.

A file may therefore be larger than memory.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from model.training.errors import DataError

_CHUNK_ROWS = 1 << 16  # of Parquet files and of lines of sequences
_CSV_BLOCK_BYTES = 1 << 20  # Arrow reads some 30 blocks ahead
_PARQUET_BUFFER_BYTES = 1 << 20
_MAX_ERROR_CHARACTERS = 300
_ID_COLUMNS = ("user_id", "item_id")
_TIMESTAMP, _SEQUENCE, _ARRIVED = "timestamp", "sequence", "arrived"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of n events, in the order of the file.

    Attributes:
        users: (n,) user ids, never null.
        items: (n,) item ids, never null.
        order: (n,) int64 or float64, numbers that order a user's events; None if the events are in order.
        times: (n,) float64, Unix seconds, see `_event_times`; only from `read_export` with times.
    """

    users: pa.StringArray
    items: pa.StringArray
    order: NDArray[Any] | None
    times: NDArray[np.float64] | None = None


def read_chunks(path: Path, timestamp_type: pa.DataType | None = None) -> Iterator[Chunk]:
    """Read a file of events, or the folder of an export.

    Args:
        path: the file or folder.
        timestamp_type: type of the timestamps in a text table; None infers it from the beginning of the file.

    Raises:
        DataError: columns or values are missing or unusable.
        OSError: the file cannot be read.
        pa.ArrowException: the file is damaged; see `describe_read_error`.
    """
    if path.is_dir():
        return read_export(path, with_times=False)
    if path.suffix == ".parquet":
        return _read_parquet(path, _TIMESTAMP)
    if path.suffix in (".csv", ".inter"):
        return _read_text_table(path, timestamp_type)
    return _read_sequences(path)


def read_export(folder: Path, with_times: bool) -> Iterator[Chunk]:
    """Read the Parquet files of an export in order of their names.

    The column `sequence` orders a user's events.

    Raises:
        DataError: the folder holds no Parquet files.
    """
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise DataError(f"{folder} holds no Parquet files")
    for part in parts:
        yield from _read_parquet(part, _SEQUENCE, with_times)


def wider_timestamp_type(error: Exception) -> pa.DataType | None:
    """Return a wider type to read the timestamps with, or None.

    Arrow infers the type from the beginning of the file; later timestamps can have fractions that do not fit it.
    """
    if "conversion error to int64" in str(error):
        return pa.float64()
    if "conversion error to timestamp[s" in str(error):
        return pa.timestamp("ns", "UTC" if "tz=" in str(error) else None)
    return None


def describe_read_error(path: Path, error: Exception) -> str:
    """Describe in one sentence why a file cannot be read.

    It names the line if that is known.
    """
    found = re.search(r"Row #(\d+): (.*)", str(error), re.DOTALL)
    location, reason = (f"{path}:{found[1]}", found[2]) if found else (str(path), str(error))
    return f"{location} cannot be read: {reason[:_MAX_ERROR_CHARACTERS]}"


def _read_text_table(path: Path, timestamp_type: pa.DataType | None) -> Iterator[Chunk]:
    """Read a table with a header: CSV or RecBole's .inter.

    RecBole separates by tabs, and its header has `name:type`.
    """
    is_recbole = path.suffix == ".inter"
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    names = line.rstrip("\r\n").split("\t") if is_recbole else next(csv.reader([line]), [])
    names = [name.split(":")[0] for name in names] if is_recbole else names
    _check_columns(path, names)
    column_types = dict.fromkeys(_ID_COLUMNS, pa.string())
    reader = pyarrow.csv.open_csv(
        path,
        # With threads Arrow does not report the number of a bad row.
        read_options=pyarrow.csv.ReadOptions(
            column_names=names, skip_rows=1, block_size=_CSV_BLOCK_BYTES, use_threads=False
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter="\t" if is_recbole else ",", quote_char=False if is_recbole else '"'
        ),
        # Only an empty field is null: "NA" and "null" are ids like any others.
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=[name for name in (*_ID_COLUMNS, _TIMESTAMP) if name in names],
            column_types=column_types | ({_TIMESTAMP: timestamp_type} if timestamp_type else {}),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    line_number = 2  # line 1 is the header
    for batch in reader:
        yield _chunk(path, batch, line_number, _TIMESTAMP)
        line_number += len(batch)


def _read_parquet(path: Path, order: str, with_times: bool = False) -> Iterator[Chunk]:
    # Without pre_buffer=False Arrow keeps everything it has read until the end of the file.
    with pyarrow.parquet.ParquetFile(path, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False) as file:
        names = file.schema_arrow.names
        _check_columns(path, names)
        order = order if order in names else _TIMESTAMP
        times = (_TIMESTAMP, _ARRIVED) if with_times else ()
        columns = [name for name in (*_ID_COLUMNS, order, *times) if name in names]
        row_number = 1
        for batch in file.iter_batches(_CHUNK_ROWS, columns=columns):
            chunk = _chunk(path, batch, row_number, order)
            yield replace(chunk, times=_event_times(batch)) if with_times else chunk
            row_number += len(batch)


def _event_times(batch: pa.RecordBatch) -> NDArray[np.float64]:
    """Return the timestamps, but none after the event's arrival.

    Clients choose timestamps, and some of their clocks are wrong. Older parts of an export have no arrivals.
    """
    times: NDArray[np.float64] = batch[_TIMESTAMP].to_numpy()
    if _ARRIVED not in batch.schema.names:
        return times
    arrived: NDArray[np.float64] = batch[_ARRIVED].to_numpy(zero_copy_only=False)
    bounded: NDArray[np.float64] = np.fmin(times, arrived)  # a null is NaN, which fmin ignores
    return bounded


def _read_sequences(path: Path) -> Iterator[Chunk]:
    """Read lines of `user item item ...`, oldest item first."""
    users: list[str] = []
    items: list[str] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                fields = line.decode().split()
            except UnicodeDecodeError:
                raise DataError(f"{path}:{number} cannot be read: it is not UTF-8") from None
            users.extend(fields[:1] * (len(fields) - 1))
            items.extend(fields[1:])
            if len(users) >= _CHUNK_ROWS:
                yield Chunk(pa.array(users, pa.string()), pa.array(items, pa.string()), None)
                users, items = [], []
    if users:
        yield Chunk(pa.array(users, pa.string()), pa.array(items, pa.string()), None)


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if missing := [name for name in _ID_COLUMNS if name not in names]:
        raise DataError(f"{path} has no column {' and no column '.join(missing)}; its columns are {list(names)}")


def _chunk(path: Path, batch: pa.RecordBatch, first_row: int, order: str) -> Chunk:
    """Convert a batch of columns whose first row is number `first_row`."""
    for name in (*_ID_COLUMNS, order):
        if name in batch.schema.names and batch[name].null_count:
            row = first_row + int(np.argmax(batch[name].is_null().to_numpy(zero_copy_only=False)))
            raise DataError(f"{path}:{row} has no {name}; correct or remove the row")
    users, items = (batch[name].cast(pa.string()) for name in _ID_COLUMNS)
    if order not in batch.schema.names:
        return Chunk(users, items, None)
    return Chunk(users, items, _order_values(path, batch[order], first_row))


def _order_values(path: Path, column: pa.Array, first_row: int) -> NDArray[Any]:
    """Convert timestamps or sequences to int64 or float64; dates become microseconds."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):  # "1000" sorts before "999"
        raise DataError(f"{path}: the timestamps are text; write them as numbers or as ISO 8601")
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]").astype(np.int64)
    if values.dtype.kind not in "iuf":
        raise DataError(f"{path}: the timestamps are of type {column.type}; write them as numbers or as ISO 8601")
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    if not (is_finite := np.isfinite(values)).all():
        row = first_row + int(np.argmin(is_finite))
        raise DataError(f"{path}:{row} has a timestamp that is NaN or infinite; correct it")
    return values.astype(np.float64)
