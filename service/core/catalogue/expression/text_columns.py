"""Columns of strings, as tests see them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.coded_columns import TextColumn
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


def text_ranks(*columns: AnyTextColumn) -> list[NDArray[np.int64]]:
    """Return for each column the ranks of its codes.

    A rank is the position of the string among those of all columns, and -1 for code 0.
    """
    entries = [[column.entry(code) for code in range(1, len(column.table) + 1)] for column in columns]
    ranks = {entry: rank for rank, entry in enumerate(sorted({entry for found in entries for entry in found}))}
    return [np.array([-1, *(ranks[entry] for entry in found)], np.int64) for found in entries]
