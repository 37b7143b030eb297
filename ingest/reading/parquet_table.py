"""Parquet files, read by Arrow in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from ingest.errors import DataError
from ingest.reading.column_names import FindColumns

_ROWS = 1 << 16  # in a chunk
_BUFFER_BYTES = 1 << 20


def is_parquet(path: Path) -> bool:
    """Return whether the file begins like a Parquet file."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def read_parquet(path: Path, source: str, find: FindColumns) -> Iterator[pa.RecordBatch]:
    """Read columns in file order.

    Raises:
        DataError: the file is damaged, a column is missing, or the column name occurs twice.
    """
    try:
        # Arrow would otherwise read ahead, and keep what it has read until the end of the file.
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            wanted = list(find(file.schema_arrow.names))
            for batch in file.iter_batches(_ROWS, columns=wanted):
                yield batch.select(wanted)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:200].rstrip(". ")
        raise DataError(f"{source} cannot be read as Parquet: {reason}; write it again") from None
