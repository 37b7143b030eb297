"""Files of events as chunks of columns, so that a file larger than memory can be read."""

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

_ROWS = 1 << 16  # of a Parquet file or of lines of sequences in a chunk
_BYTES = 1 << 20  # of a text table; Arrow reads some 30 of them ahead
_IDS = ("user_id", "item_id")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some events, in the order of the file.

    users, items  (n,) ids, none of them null
    order         (n,) what a user's events are in order of, int64 or float64; None: they are in order
    times         (n,) float64 Unix seconds; only in what `read_export` gives
    """

    users: pa.StringArray
    items: pa.StringArray
    order: NDArray[Any] | None
    times: NDArray[np.float64] | None = None


def read_chunks(path: Path, time_type: pa.DataType | None = None) -> Iterator[Chunk]:
    """Chunks of `path`, whose kind is told by its ending. `time_type` is what timestamps in a text table are read as.

    Raises `DataError`, `OSError`, and `pa.ArrowException` for a damaged file; see `bad_row`.
    """
    if path.is_dir():
        return read_export(path, times=False)
    if path.suffix == ".parquet":
        return _parquet(path, "timestamp")
    if path.suffix in (".csv", ".inter"):
        return _text_table(path, time_type)
    return _sequences(path)


def wider_time(error: Exception) -> pa.DataType | None:
    """The type that times must be read as since the one of the file's beginning does not hold them all, or None."""
    if "conversion error to int64" in str(error):
        return pa.float64()
    if "conversion error to timestamp[s" in str(error):
        return pa.timestamp("ns", "UTC" if "tz=" in str(error) else None)
    return None


def bad_row(path: Path, error: Exception) -> str:
    """The sentence for a file that cannot be read, with the line where that is known."""
    found = re.search(r"Row #(\d+): (.*)", str(error), re.DOTALL)
    place, what = (f"{path}:{found[1]}", found[2]) if found else (str(path), str(error))
    return f"{place} cannot be read: {what[:300]}"


def _text_table(path: Path, time_type: pa.DataType | None) -> Iterator[Chunk]:
    """A table with a header: separated by commas, or RecBole's by tabs with a header of name:type."""
    recbole = path.suffix == ".inter"
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    names = line.rstrip("\r\n").split("\t") if recbole else next(csv.reader([line]), [])
    names = [name.split(":")[0] for name in names] if recbole else names
    _check_columns(path, names)
    types = dict.fromkeys(_IDS, pa.string()) | ({"timestamp": time_type} if time_type else {})
    reader = pyarrow.csv.open_csv(
        path,
        # With threads Arrow does not know the number of a bad row.
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, block_size=_BYTES, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter="\t" if recbole else ",", quote_char=False if recbole else '"'
        ),
        # Ids as the file has them; only an empty field has no value ("NA" and "null" are ids like others).
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=[name for name in (*_IDS, "timestamp") if name in names],
            column_types=types,
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    begin = 2  # line numbers count the header and begin at 1
    for batch in reader:
        yield _chunk(path, batch, begin, "timestamp")
        begin += len(batch)


def read_export(folder: Path, times: bool) -> Iterator[Chunk]:
    """Chunks of the parts of an export, whose order is that of `sequence` whatever the timestamps say."""
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise DataError(f"{folder} holds no Parquet files")
    for part in parts:
        yield from _parquet(part, "sequence", times)


def _parquet(path: Path, order: str, times: bool = False) -> Iterator[Chunk]:
    # Arrow would otherwise read ahead and keep what it has read until the end of the file.
    with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        names = file.schema_arrow.names
        _check_columns(path, names)
        order = order if order in names else "timestamp"
        columns = [name for name in (*_IDS, order) if name in names] + ["timestamp"] * times
        begin = 1
        for batch in file.iter_batches(_ROWS, columns=columns):
            chunk = _chunk(path, batch, begin, order)
            yield replace(chunk, times=batch["timestamp"].to_numpy()) if times else chunk
            begin += len(batch)


def _sequences(path: Path) -> Iterator[Chunk]:
    """Lines of `user item item …`, oldest first."""
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
            if len(users) >= _ROWS:
                yield Chunk(pa.array(users, pa.string()), pa.array(items, pa.string()), None)
                users, items = [], []
    if users:
        yield Chunk(pa.array(users, pa.string()), pa.array(items, pa.string()), None)


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if missing := [name for name in _IDS if name not in names]:
        raise DataError(f"{path} has no column {' and no column '.join(missing)}; it has {list(names)}")


def _chunk(path: Path, batch: pa.RecordBatch, begin: int, order: str) -> Chunk:
    """The batch, whose first row is the file's row or line `begin`."""
    for name in (*_IDS, order):
        if name in batch.schema.names and batch[name].null_count:
            row = begin + int(np.argmax(batch[name].is_null().to_numpy(zero_copy_only=False)))
            raise DataError(f"{path}:{row} has no {name}; correct or remove the row")
    users, items = (batch[name].cast(pa.string()) for name in _IDS)
    if order not in batch.schema.names:
        return Chunk(users, items, None)
    kind = batch[order].type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):  # as text 1000 comes before 999
        raise DataError(f"{path}: the timestamps are text; write them as numbers or as ISO 8601")
    times = batch[order].to_numpy(zero_copy_only=False)
    if times.dtype.kind == "M":
        times = times.astype("datetime64[us]").astype(np.int64)
    elif times.dtype.kind not in "iuf":
        raise DataError(f"{path}: the timestamps are of type {kind}; write them as numbers or as ISO 8601")
    if times.dtype.kind == "f" and not (finite := np.isfinite(times)).all():
        raise DataError(
            f"{path}:{begin + int(np.argmin(finite))} has a timestamp that is NaN or infinite; correct it"
        )
    return Chunk(users, items, times.astype(np.float64 if times.dtype.kind == "f" else np.int64))
