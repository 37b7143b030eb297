"""Columns of strings, as tests see them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.byte_table import ByteTable
from service.core.catalogue.columns.coded_columns import SEPARATOR, TextColumn
from service.core.catalogue.columns.entry_order import entry_ranks
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.expression.text_match import TextMatch

Bools = NDArray[np.bool_]
Rows = slice | NDArray[np.int64]


class IdColumn:
    """Item ids in NFC; the code of an id is its row."""

    def __init__(self, columns: ItemColumns) -> None:
        self.table = columns.ids
        self.normal_ids = columns.normal_ids

    def codes_of(self, rows: Rows) -> NDArray[np.int64]:
        """Return the codes of rows."""
        return np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows

    def entry(self, code: int) -> bytes:
        """Return the string of a code."""
        return self.normal_ids.get(code) or self.table.get(code)


AnyTextColumn = TextColumn | IdColumn


def select_texts(column: AnyTextColumn, match: TextMatch) -> Bools:
    """Return for every code whether its string matches; code 0 never does."""
    selected = match.select(column.table)
    if isinstance(column, IdColumn):
        for row, normal in list(column.normal_ids.items()):
            if row < len(selected):
                selected[row] = match.matches(normal)
    return selected


def text_ranks(left: AnyTextColumn, right: AnyTextColumn) -> list[NDArray[np.int64]]:
    """Return for both columns the ranks of their codes.

    Equal strings have equal ranks, and code 0 has -1.
    """
    normal_ids = next((column.normal_ids for column in (left, right) if isinstance(column, IdColumn)), {})
    normal, rows = ByteTable(SEPARATOR), list(normal_ids)
    codes = [normal.intern(normal_ids[row]) for row in rows]
    *ranks, of_normal = entry_ranks(left.table.view(), right.table.view(), normal.view())
    for column, of_column in zip((left, right), ranks, strict=True):
        if isinstance(column, IdColumn):
            of_column[rows] = of_normal[codes]
    return ranks
