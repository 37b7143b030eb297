"""Read the Parquet files of an export of the service's log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from ingest.errors import DataError
from model.training.event_types.type_rules import without_impressions

_CHUNK_ROWS = 1 << 16
_BUFFER_BYTES = 1 << 20
_COLUMNS = ("user_id", "item_id", "timestamp", "sequence")
_ARRIVED, _TYPE = "arrived", "type"  # older parts of an export have neither
_STATE_FILE = "export.json"  # also in an export of an empty log


@dataclass(frozen=True, slots=True)
class ExportChunk:
    """A chunk of n events, in order of arrival for each user.

    Attributes:
        users: (n,) user ids.
        items: (n,) item ids.
        sequences: (n,) int64, numbers that order a user's events.
        times: (n,) float64, Unix seconds, see `_event_times`.
        types: (n,) names of the events' types, null for the default; None if the part has none.
    """

    users: pa.StringArray
    items: pa.StringArray
    sequences: NDArray[np.int64]
    times: NDArray[np.float64]
    types: pa.StringArray | None = None


def is_export(path: Path) -> bool:
    """Return whether a path is the folder of an export."""
    if (path / _STATE_FILE).is_file():
        return True
    part = next(iter(sorted(path.glob("*.parquet"))), None) if path.is_dir() else None
    if part is None:
        return False
    try:
        return set(_COLUMNS) <= set(pyarrow.parquet.read_schema(part).names)
    except (OSError, pa.ArrowException):
        return part.name.startswith("shard-")


def read_export(folder: Path) -> Iterator[ExportChunk]:
    """Read the parts of an export in order of their names.

    Raises:
        DataError: the folder holds no parts, or one cannot be read.
    """
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise DataError(f"{folder} holds no Parquet files")
    for part in parts:
        try:
            yield from _read_part(part)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{part} cannot be read: {str(error)[:200]}; remove the folder and export again"
            ) from None


def _read_part(path: Path) -> Iterator[ExportChunk]:
    # Without pre_buffer=False Arrow keeps everything it has read until the end of the file.
    with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        names = file.schema_arrow.names
        if missing := [name for name in _COLUMNS if name not in names]:
            raise DataError(f"{path} is no part of an export: it has no column {missing[0]}")
        row = 1
        for batch in file.iter_batches(_CHUNK_ROWS, columns=[*_COLUMNS, *({_ARRIVED, _TYPE} & set(names))]):
            for name in _COLUMNS:
                if batch[name].null_count:
                    row += int(np.argmax(batch[name].is_null().to_numpy(zero_copy_only=False)))
                    raise DataError(f"{path}:{row} has no {name}; remove the folder and export again")
            users, items = (batch[name].cast(pa.string()) for name in _COLUMNS[:2])
            types = batch[_TYPE].cast(pa.string()) if _TYPE in names else None
            sequences = batch["sequence"].to_numpy().astype(np.int64)
            yield _without_impressions(ExportChunk(users, items, sequences, _event_times(batch), types))
            row += len(batch)


def _without_impressions(chunk: ExportChunk) -> ExportChunk:
    """Leave out impressions, which say nothing about what a user does next."""
    kept = None if chunk.types is None else without_impressions(chunk.types)
    if chunk.types is None or kept is None:
        return chunk
    users, items, types = (column.filter(pa.array(kept)) for column in (chunk.users, chunk.items, chunk.types))
    return ExportChunk(users, items, chunk.sequences[kept], chunk.times[kept], types)


def _event_times(batch: pa.RecordBatch) -> NDArray[np.float64]:
    """Return the timestamps, but none after the event's arrival.

    Clients choose timestamps, and some of their clocks are wrong. Older parts of an export have no arrivals.
    """
    times: NDArray[np.float64] = batch["timestamp"].to_numpy().astype(np.float64)
    if _ARRIVED not in batch.schema.names:
        return times
    arrived: NDArray[np.float64] = batch[_ARRIVED].to_numpy(zero_copy_only=False)
    bounded: NDArray[np.float64] = np.fmin(times, arrived)  # a null is NaN, which fmin ignores
    return bounded
