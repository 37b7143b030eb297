"""Options for reading a file of events."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options that a user gives; where one is None, the content decides.

    Attributes:
        user_column, item_column, time_column: names of columns in the file.
        type_column, value_column: names of columns with the events' types and values; None: they have none.
        type_names: texts of the column of types, and the types that they stand for.
        time_format: of times in text, as for `strptime`.
        columns: names of all columns of a table without a header, in order.
        delimiter: between two fields of a text table.
        encoding: Python codec of a text file, such as "latin-1".
        histories: read lines of `user item item …`, whatever they look like.
        max_bad_rows: share of rows (0 to 1) that may be skipped because they cannot be read.
        drop_duplicates: leave out rows that repeat user, item and time of another row.
    """

    user_column: str | None = None
    item_column: str | None = None
    time_column: str | None = None
    type_column: str | None = None
    value_column: str | None = None
    type_names: tuple[tuple[str, str], ...] = ()
    time_format: str | None = None
    columns: tuple[str, ...] | None = None
    delimiter: str | None = None
    encoding: str | None = None
    histories: bool = False
    max_bad_rows: float = 0.0
    drop_duplicates: bool = False
