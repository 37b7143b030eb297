"""Columns as plain arrays, and back: the content of a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.columns.byte_table import ByteTable, TableView
from service.core.catalogue.columns.coded_columns import SEPARATOR, SetColumn, TextColumn
from service.core.catalogue.columns.entry_hash import HashKey
from service.core.catalogue.columns.growing_array import GrowingArray
from service.core.catalogue.columns.hash_slots import fill, size_for
from service.core.catalogue.columns.item_columns import ColumnKey, ItemColumns
from service.core.catalogue.columns.typed_columns import COLUMN_TYPES, Column

FORMAT = 1
_ROW_ARRAYS = ("shown", "has_entry", "deleted", "revisions", "shards", "digests")
_PART_BYTES = 1 << 20
_ALIGNMENT = 64  # values; every array begins at a multiple of as many bytes

Arrays = Mapping[str, NDArray[Any]]
Description = dict[str, Any]


class ArrayParts(NamedTuple):
    """An array in parts, so that it is never in memory twice."""

    name: str
    dtype: np.dtype[Any]
    parts: Iterator[NDArray[Any]]


class ColumnExport:
    """Arrays of the columns, read while the event loop writes.

    A row that changes meanwhile may be torn: part of it before the change, part of it after. New rows are left out.

    Attributes:
        description: What `import_columns` needs besides the arrays; complete when they are read.
    """

    def __init__(self, columns: ItemColumns) -> None:
        """Begin to read; call it on the event loop."""
        self._source = columns
        self._row_count = columns.row_count
        self._columns = dict(columns.columns)
        self._normal_ids = dict(columns.normal_ids)
        self.description: Description = {
            "format": FORMAT,
            "rows": columns.row_count,
            "listed_only": columns.listed_only,
            "columns": [[name, kind.value] for name, kind in self._columns],
            "tables": {},
        }

    def arrays(self) -> Iterator[ArrayParts]:
        """Yield all arrays, in any thread."""
        for name, array in zip(_ROW_ARRAYS, self._source.row_arrays(), strict=True):
            yield self._rows(name, array)
        yield from self._table("ids", self._source.ids, self._row_count - 1)
        for number, column in enumerate(self._columns.values()):
            # The codes first: the tables then have at least their entries.
            yield self._rows(f"{number}/values", column.array)
            if isinstance(column, TextColumn):
                yield from self._table(f"{number}/texts", column.table)
            elif isinstance(column, SetColumn):
                yield from self._table(f"{number}/sets", column.table)
                yield from self._table(f"{number}/members", column.members)
        normal = [entry + SEPARATOR for entry in self._normal_ids.values()]
        yield _whole("normal_ids/rows", np.array([*self._normal_ids], np.int64))
        yield _whole("normal_ids/content", np.frombuffer(b"".join(normal), np.uint8))
        self.description["normal_ids"] = [len(normal), sum(map(len, normal))]

    def _rows(self, name: str, array: GrowingArray[Any]) -> ArrayParts:
        return _padded(name, array.data, self._row_count, array.fill)

    def _table(self, name: str, table: ByteTable, size: int | None = None) -> Iterator[ArrayParts]:
        view = table.view()
        size = view.size if size is None else size
        hashes = table.hashes()  # after the view: they have at least its entries
        self.description["tables"][name] = [size, *table.key]
        yield _padded(f"{name}/content", view.content, int(view.starts[size + 1]), 0)
        yield _padded(f"{name}/starts", view.starts, size + 2, 0)
        yield _padded(f"{name}/hashes", hashes, size + 1, 0)
        slots = np.zeros(size_for(size), np.int32)
        fill(slots, hashes, 1, size)
        yield _whole(f"{name}/slots", slots)


def import_columns(columns: ItemColumns, description: Mapping[str, Any], arrays: Arrays) -> None:
    """Fill empty columns from a snapshot.

    Raises `KeyError`, `ValueError`, `TypeError` or `IndexError`, and leaves the columns empty, if that is incomplete.
    """
    if description["format"] != FORMAT:
        raise ValueError(f"columns of format {description['format']}")
    read = _Reader(description, arrays)
    rows: int = description["rows"]
    keys = [(str(name), AttributeType(kind)) for name, kind in description["columns"]]
    found = {key: read.column(str(number), key) for number, key in enumerate(keys)}
    if len(found) < len(keys) or not columns.columns.keys() <= found.keys():
        raise ValueError("columns are missing")
    ids = read.table("ids", SEPARATOR)
    if len(ids) != rows - 1:
        raise ValueError("ids are missing")
    row_arrays = [arrays[name] for name in _ROW_ARRAYS]
    if min(len(array) for array in (*row_arrays, *(column.array.data for column in found.values()))) < rows:
        raise ValueError("rows are missing")
    normal, size = description["normal_ids"]
    entries = arrays["normal_ids/content"][:size].tobytes().split(SEPARATOR)[:normal]
    normal_ids = dict(zip(arrays["normal_ids/rows"][:normal].tolist(), entries, strict=True))
    is_other_setting = description["listed_only"] is not columns.listed_only
    columns.normal_ids = normal_ids
    for array, data in zip(columns.row_arrays(), row_arrays, strict=True):
        array.data = data
    if is_other_setting:
        columns.shown.write(np.flatnonzero(columns.has_entry.data == 0), columns.shown.fill)
        columns.shown.set(0, 0)
    columns.take_over(ids, found)


class _Reader:
    """Parts of columns, made of a snapshot's arrays."""

    def __init__(self, description: Mapping[str, Any], arrays: Arrays) -> None:
        self._tables = description["tables"]
        self._arrays = arrays

    def table(self, name: str, separator: bytes = b"") -> ByteTable:
        size, multiplier, modulus = self._tables[name]
        content, starts, hashes, slots = (
            self._arrays[f"{name}/{part}"] for part in ("content", "starts", "hashes", "slots")
        )
        if min(len(starts) - 2, len(hashes) - 1) < size or len(content) < starts[size + 1]:
            raise ValueError("entries are missing")
        view = TableView(size, content, starts, len(separator))
        return ByteTable.of_arrays(separator, HashKey(multiplier, modulus), view, hashes, slots)

    def column(self, name: str, key: ColumnKey) -> Column:
        column: Column
        match key[1]:
            case AttributeType.STRING:
                column = TextColumn(self.table(f"{name}/texts", SEPARATOR))
            case AttributeType.STRINGS:
                column = SetColumn(self.table(f"{name}/sets"), self.table(f"{name}/members", SEPARATOR))
            case _:
                column = COLUMN_TYPES[key[1]]()
        data = self._arrays[f"{name}/values"]
        if data.dtype != column.array.data.dtype:
            raise ValueError("a column has another type")
        column.array.data = data
        return column


def _whole(name: str, array: NDArray[Any]) -> ArrayParts:
    return _padded(name, array, len(array), 0, room=0)


def _padded(name: str, array: NDArray[Any], used: int, filler: object, room: int | None = None) -> ArrayParts:
    """Return the used part of an array, with room for more values."""
    length = used + (used // 8 + _ALIGNMENT if room is None else room)
    length = -(-length // _ALIGNMENT) * _ALIGNMENT
    return ArrayParts(name, array.dtype, _parts(array, used, length, filler))


def _parts(array: NDArray[Any], used: int, length: int, filler: object) -> Iterator[NDArray[Any]]:
    step = _PART_BYTES // array.dtype.itemsize
    for start in range(0, used, step):
        yield array[start : min(start + step, used)]
    for start in range(used, length, step):
        yield np.full(min(step, length - start), filler, array.dtype)
