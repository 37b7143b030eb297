"""Recognise the form of a text file by its content."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ingest.errors import DataError
from ingest.options import ReadOptions
from ingest.reading.column_names import has_user_and_item

_SAMPLE = 1 << 20
_LINES = 200
_DELIMITERS = ("\t", ",", ";", "|", "::", " ")
_RECBOLE_TYPE = re.compile(r":(token|float|token_seq|float_seq)$")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
_MIN_UNIX_SECONDS = 1e8


class Dialect(NamedTuple):
    """Form of a text file.

    Attributes:
        kind: "table", "json" (objects, one a line or in one array) or "histories" (`user item item …`).
        delimiter, quote, escape: of a table; an empty quote means that quotes are ordinary characters.
        header: whether a table's first line has the names.
        names: of a table's columns, in order, RecBole's types removed.
    """

    kind: Literal["table", "json", "histories"]
    delimiter: str = ""
    quote: str = ""
    escape: str = ""
    header: bool = False
    names: tuple[str, ...] = ()


def detect_dialect(path: Path, source: str, options: ReadOptions) -> Dialect:
    """Detect the format of the UTF-8 text at `path`.

    Args:
        path: plain text.
        source: the file's name as the user knows it, for messages.
        options: options given by the user; they override detection.

    Raises:
        DataError: the content is not understood; the message says what was seen.
    """
    with path.open("rb") as file:
        head = file.read(_SAMPLE)
        cut_off = len(head) == _SAMPLE
    text = head.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = [line for line in re.split(r"\r\n|\n|\r", text) if line.strip()]
    lines = lines[: max(1, min(_LINES, len(lines) - cut_off))]
    if not lines:
        raise DataError(f"{source} holds no events")
    if options.histories:
        return Dialect("histories")
    if lines[0].lstrip()[0] in "{[" and options.columns is None:
        return Dialect("json")
    if options.columns is not None:
        return _without_header(source, lines, options.columns, options)
    if (table := _with_header(lines, options)) is not None:
        return table
    if _looks_like_histories(source, lines):
        return Dialect("histories")
    raise DataError(
        f"{source}: the first line is {lines[0][:80]!r}, in which no columns for user and item are recognised; name "
        "them with --user-column and --item-column, or, if there is no header, name all columns with --columns"
    )


def _with_header(lines: Sequence[str], options: ReadOptions) -> Dialect | None:
    for delimiter in (options.delimiter,) if options.delimiter else _DELIMITERS:
        fields = [name.strip() for name in split_record(lines[0], delimiter, '"')]
        recbole = delimiter == "\t" and any(_RECBOLE_TYPE.search(name) for name in fields)
        names = tuple(_RECBOLE_TYPE.sub("", name) for name in fields) if recbole else tuple(fields)
        asked = {options.user_column, options.item_column} - {None}
        if has_user_and_item(names, options) or (asked and asked <= set(names)):
            quote = "" if recbole else _quote(lines, delimiter)
            return Dialect("table", delimiter, quote, _escape(lines, quote), True, names)
    return None


def _without_header(source: str, lines: Sequence[str], columns: tuple[str, ...], options: ReadOptions) -> Dialect:
    candidates = (options.delimiter,) if options.delimiter else _DELIMITERS
    for delimiter in candidates:
        quote = _quote(lines, delimiter)
        counts = {len(split_record(line, delimiter, quote)) for line in lines[:20]}
        if counts == {len(columns)}:
            return Dialect("table", delimiter, quote, _escape(lines, quote), False, columns)
    seen = len(split_record(lines[0], candidates[0] if options.delimiter else ",", '"'))
    raise DataError(
        f"{source}: --columns names {len(columns)} columns, and the first line {lines[0][:80]!r} has {seen}; "
        "correct --columns, or name the --delimiter"
    )


def _looks_like_histories(source: str, lines: Sequence[str]) -> bool:
    """Return whether the lines are `user item item …`.

    Tables without a header must not be detected as histories.
    """
    if any(mark in line for line in lines for mark in ("\t", ",", ";", "|", "::", '"')):
        return False
    rows = [line.split() for line in lines]
    widths = {len(row) for row in rows}
    if len(widths) == 1 and widths <= {2, 3, 4, 5} and len(rows) > 1:
        times = all(_NUMBER.fullmatch(row[-1]) and float(row[-1]) >= _MIN_UNIX_SECONDS for row in rows[1:])
        words = not any(_NUMBER.fullmatch(field) for field in rows[0])
        numbers = all(_NUMBER.fullmatch(field) for row in rows[1:] for field in row)
        if times or (words and numbers):
            raise DataError(
                f"{source}: every line has {widths.pop()} fields, like a table, and the first is {lines[0][:80]!r}; "
                "name the columns with --columns or --user-column, or, if it holds histories, pass --histories"
            )
    return max(widths) > 1


def split_record(line: str, delimiter: str, quote: str) -> list[str]:
    """Split one line into fields."""
    if len(delimiter) > 1 or not quote or quote not in line:
        return line.split(delimiter) if delimiter != " " else line.split()
    try:
        return next(csv.reader(io.StringIO(line), delimiter=delimiter, quotechar=quote), [])
    except csv.Error:
        return line.split(delimiter)


def _quote(lines: Sequence[str], delimiter: str) -> str:
    """Return the quote character; "" if quotes are ordinary characters.

    Most tables that are separated by tabs do not quote.
    """
    if len(delimiter) > 1:
        return ""
    if delimiter != "\t":
        return '"'
    fields = [field for line in lines for field in line.split(delimiter)]
    return '"' if any(len(field) > 1 and field[0] == field[-1] == '"' for field in fields) else ""


def _escape(lines: Sequence[str], quote: str) -> str:
    """Return the character that escapes a quote: a quote or a backslash."""
    text = "\n".join(lines)
    return "\\" if quote and '\\"' in text and '""' not in text.replace(',"",', ",,") else quote
