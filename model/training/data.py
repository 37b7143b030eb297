"""Interactions from files: who touched which item, in what order.

Order is by time, and within one timestamp by position in the file: never by item id, which would leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from model.training.errors import DataError


@dataclass(frozen=True, slots=True)
class Interactions:
    """All histories, one after the other, each oldest first.

    rows      (N,) int32, embedding row (1..V) of every event; user u's are rows[offsets[u]:offsets[u + 1]]
    offsets   (U + 1,) int64
    item_ids  V ids, that of row r at r - 1
    user_ids  U ids
    """

    rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    item_ids: Sequence[str]
    user_ids: Sequence[str]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(U,) events of each user."""
        return np.diff(self.offsets)

    def popularity(self) -> NDArray[np.int64]:
        """(V + 1,) events of each row."""
        return np.bincount(self.rows, minlength=len(self.item_ids) + 1)

    def without_last(self, count: int) -> Interactions:
        """Every history without its last `count` events (a shorter history becomes empty)."""
        position = np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], self.lengths)
        keep = position < np.repeat(self.lengths - count, self.lengths)
        kept = np.maximum(self.lengths - count, 0)
        offsets = np.concatenate([[0], np.cumsum(kept)])
        return Interactions(self.rows[keep], offsets, self.item_ids, self.user_ids)

    def summary(self) -> dict[str, Any]:
        """What the bundle says of its training data."""
        lengths = self.lengths
        return {
            "users": len(lengths),
            "items": len(self.item_ids),
            "events": len(self.rows),
            "median_history": float(np.median(lengths)) if len(lengths) else 0.0,
            "longest_history": int(lengths.max(initial=0)),
        }


def read_interactions(path: Path, item_ids: Sequence[str] | None = None) -> Interactions:
    """Read `path` by its ending: .inter (RecBole), .csv, .parquet, otherwise `user item item …` lines.

    A folder is read as the Parquet parts in it, by name; where these have a column `sequence`, as the export of the
    service's log has, a user's events are in its order whatever their timestamps say. Tables need the columns user_id
    and item_id, and timestamp unless their rows are in order of time. With
    `item_ids` (a bundle's, in order of rows) events of other items are left out; without, rows follow the order
    of first appearance. Raises `DataError`.
    """
    try:
        readers = {".inter": _read_inter, ".csv": _read_csv, ".parquet": pyarrow.parquet.read_table}
        read = _read_parts if path.is_dir() else readers.get(path.suffix)
        table = _sequences(path) if read is None else _from_table(path, read(path))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    users, items = table
    if not len(users):
        raise DataError(f"{path} holds no events")
    return _assemble(users, items, item_ids)


def _read_parts(path: Path) -> pa.Table:
    columns = ["user_id", "item_id", "timestamp", "sequence"]
    # A file's path may look like `name=value/…`, which Arrow would take for a column.
    tables = [
        pyarrow.parquet.read_table(part, columns=columns, partitioning=None)
        for part in sorted(path.glob("*.parquet"))
    ]
    if not tables:
        raise DataError(f"{path} holds no Parquet files")
    return pa.concat_tables(tables)


def _read_csv(path: Path) -> pa.Table:
    return pyarrow.csv.read_csv(path, convert_options=_ids_as_text())


def _ids_as_text() -> pyarrow.csv.ConvertOptions:
    """Ids as the file has them; only an empty field has no value ("NA" and "null" are ids like others)."""
    kinds = {"user_id": pa.string(), "item_id": pa.string()}
    return pyarrow.csv.ConvertOptions(column_types=kinds, null_values=[""], strings_can_be_null=True)


def _read_inter(path: Path) -> pa.Table:
    """RecBole's atomic file: tab-separated, a header of name:type."""
    with path.open(encoding="utf-8") as file:
        header = file.readline().rstrip("\n").split("\t")
    names = [column.split(":")[0] for column in header]
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=_ids_as_text(),
    )


def _from_table(path: Path, table: pa.Table) -> tuple[pa.Array, pa.Array]:
    missing = [name for name in ("user_id", "item_id") if name not in table.column_names]
    if missing:
        raise DataError(f"{path} has no column {' and no column '.join(missing)}; it has {table.column_names}")
    for name in ("user_id", "item_id"):
        if table[name].null_count:
            raise DataError(f"{path}: {table[name].null_count} rows have no {name}; remove them")
    if "timestamp" in table.column_names:
        if table["timestamp"].null_count:
            raise DataError(f"{path}: {table['timestamp'].null_count} rows have no timestamp; remove them")
        kind = table["timestamp"].type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):  # as text 1000 comes before 999
            raise DataError(f"{path}: the timestamps are text; write them as numbers or as ISO 8601")
        if pa.types.is_floating(kind) and not np.isfinite(table["timestamp"].to_numpy()).all():
            raise DataError(f"{path}: some timestamps are NaN or infinite; correct or remove these rows")
        by = "sequence" if path.is_dir() and "sequence" in table.column_names else "timestamp"
        order = np.argsort(table[by].to_numpy(), kind="stable")
        table = table.take(pa.array(order))
    return tuple(table[name].cast(pa.string()).combine_chunks() for name in ("user_id", "item_id"))


def _sequences(path: Path) -> tuple[pa.Array, pa.Array]:
    users: list[str] = []
    items: list[str] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not (fields := line.split()):
                continue
            user, *events = fields
            users.extend([user] * len(events))
            items.extend(events)
    return pa.array(users, pa.string()), pa.array(items, pa.string())


def _assemble(users: pa.Array, items: pa.Array, item_ids: Sequence[str] | None) -> Interactions:
    """Group events, which are in order of time, by user (stable)."""
    user_codes = users.dictionary_encode()
    item_codes = items.dictionary_encode()
    appeared = item_codes.dictionary.to_pylist()
    if item_ids is None:
        item_ids = appeared
    row_of = {item: row for row, item in enumerate(item_ids, start=1)}
    rows = np.array([row_of.get(item, 0) for item in appeared], np.int32)[item_codes.indices.to_numpy()]
    codes = user_codes.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    order = order[rows[order] > 0]
    counts = np.bincount(codes[order], minlength=len(user_codes.dictionary))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Interactions(rows[order], offsets, item_ids, user_codes.dictionary.to_pylist())
