"""Recognise the form of a text file by its content."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.column_names import find_columns, has_user_and_item
from ingest.reading.history_lines import looks_like_histories

_SAMPLE = 1 << 20
_LINES = 200
_DELIMITERS = ("\t", ",", ";", "|", "::", " ")
_RECBOLE_TYPE = re.compile(r":(token|float|token_seq|float_seq)$")
_SEPARATOR = re.compile(r"sep=(.|\\t)", re.IGNORECASE)
_MAX_DELIMITER_BYTES = 4  # DuckDB's limit


class Dialect(NamedTuple):
    """Form of a text file.

    Attributes:
        kind: "table", "json" (objects, one a line or in one array) or "histories" (`user item item …`).
        delimiter, quote, escape: of a table; an empty quote means that quotes are ordinary characters.
        header: whether a table's first line has the names.
        names: of a table's columns, in order, RecBole's types removed.
        skip: lines before the header or the first row.
    """

    kind: Literal["table", "json", "histories"]
    delimiter: str = ""
    quote: str = ""
    escape: str = ""
    header: bool = False
    names: tuple[str, ...] = ()
    skip: int = 0


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
    if options.delimiter is not None and len(options.delimiter.encode()) > _MAX_DELIMITER_BYTES:
        raise DataError(f"{source}: --delimiter {options.delimiter!r} is too long; at most 4 bytes are read")
    all_lines = re.split(r"\r\n|\n|\r", head.decode("utf-8", "replace").removeprefix("\ufeff"))
    skip, options = _preamble(all_lines, options)
    lines = [line for line in all_lines[skip:] if line.strip()]
    lines = lines[: max(1, min(_LINES, len(lines) - cut_off))]
    if not lines:
        raise DataError(f"{source} holds no events")
    if options.histories:
        return Dialect("histories")
    if lines[0].lstrip()[0] in "{[" and options.columns is None:
        return Dialect("json")
    if options.columns is not None:
        return _without_header(source, lines, options.columns, options)._replace(skip=skip)
    if (table := _with_header(lines, options)) is not None:
        return table._replace(skip=skip)
    if options.user_column or options.item_column:
        find_columns(source, _most_names(lines[0], options), options)  # says which is missing, and which is close
    if looks_like_histories(source, lines):
        return Dialect("histories", skip=skip)
    raise DataError(
        f"{source}: the first line is {lines[0][:80]!r}, in which no columns for user and item are recognised; name "
        "them with --user-column and --item-column, or, if there is no header, name all columns with --columns, or "
        "pass --histories for lines `user item item …`"
    )


def _preamble(lines: Sequence[str], options: ReadOptions) -> tuple[int, ReadOptions]:
    """Return how many lines come before a table, and what they say.

    They are blank, begin with "#", or are a spreadsheet's `sep=;`.
    """
    skip = 0
    for line in lines:
        separator = _SEPARATOR.fullmatch(line)
        if separator and options.delimiter is None:
            options = replace(options, delimiter=separator[1])
        elif line.strip() and (not line.startswith("#") or _with_header([line], options) is not None):
            break
        skip += 1
    return skip, options


def _with_header(lines: Sequence[str], options: ReadOptions) -> Dialect | None:
    for delimiter in (options.delimiter,) if options.delimiter else _DELIMITERS:
        fields = [name.strip() for name in split_record(lines[0], delimiter, '"')]
        names = header_names(lines[0], delimiter)
        recbole = names != tuple(fields)
        asked = {options.user_column, options.item_column} - {None}
        if has_user_and_item(names, options) or (asked and asked <= set(names)):
            quote = "" if recbole else _quote(lines, delimiter)
            if quote and len(fields) > 1 and all(len(name) > 1 and name[0] == name[-1] == "'" for name in fields):
                quote, names = "'", tuple(name[1:-1] for name in names)
            return Dialect("table", delimiter, quote, _escape(lines, delimiter, quote), True, names)
    return None


def header_names(line: str, delimiter: str) -> tuple[str, ...]:
    """Return a header's names, without RecBole's types behind them."""
    fields = tuple(name.strip() for name in split_record(line, delimiter, '"'))
    return tuple(_RECBOLE_TYPE.sub("", name) for name in fields) if delimiter == "\t" else fields


def _most_names(line: str, options: ReadOptions) -> list[str]:
    """Return the names of a header, split by the likeliest separator."""
    candidates = (options.delimiter,) if options.delimiter else _DELIMITERS
    return max(([name.strip() for name in split_record(line, own, '"')] for own in candidates), key=len)


def _without_header(source: str, lines: Sequence[str], columns: tuple[str, ...], options: ReadOptions) -> Dialect:
    candidates = (options.delimiter,) if options.delimiter else _DELIMITERS
    fitting = [delimiter for delimiter in candidates if _fits(lines, delimiter, len(columns))]
    if len(fitting) > 1 and " " in fitting:  # words of a field are more likely
        fitting.remove(" ")
    if len(fitting) > 1:
        raise DataError(
            f"{source}: {fitting[0]!r} and {fitting[1]!r} both split the first line {lines[0][:80]!r} into "
            f"{len(columns)} fields; name the --delimiter"
        )
    if not fitting:
        seen = len(split_record(lines[0], candidates[0] if options.delimiter else ",", '"'))
        raise DataError(
            f"{source}: --columns names {len(columns)} columns, and the first line {lines[0][:80]!r} has {seen}; "
            "correct --columns, or name the --delimiter"
        )
    quote = _quote(lines, fitting[0])
    if has_user_and_item([field.strip() for field in _records(lines, fitting[0], quote)[0]], ReadOptions()):
        raise DataError(f"{source}: the first line {lines[0][:80]!r} has the names; leave --columns out")
    return Dialect("table", fitting[0], quote, _escape(lines, fitting[0], quote), False, columns)


def _fits(lines: Sequence[str], delimiter: str, width: int) -> bool:
    """Return whether the first and most other records have so many fields.

    The reader names the line of the others.
    """
    quote = _quote(lines, delimiter)
    records = _records(lines, delimiter, quote)
    if not quote and any(field.count('"') % 2 for field in records[0]):  # the delimiter stands in a quoted field
        return False
    return len(records[0]) == width and 2 * sum(len(record) == width for record in records) > len(records)


def split_record(line: str, delimiter: str, quote: str) -> list[str]:
    """Split one line into fields."""
    if len(delimiter) > 1 or not quote or quote not in line:
        return line.split(delimiter) if delimiter != " " else line.split()
    try:
        return next(csv.reader(io.StringIO(line), delimiter=delimiter, quotechar=quote), [])
    except csv.Error:
        return line.split(delimiter)


def _records(lines: Sequence[str], delimiter: str, quote: str) -> list[list[str]]:
    """Split lines into records; a quoted field may have line breaks."""
    if len(delimiter) == 1 and quote:
        with contextlib.suppress(csv.Error):
            text = (f"{line}\n" for line in lines)
            return [row for row in csv.reader(text, delimiter=delimiter, quotechar=quote) if row]
    return [split_record(line, delimiter, quote) for line in lines]


def _quote(lines: Sequence[str], delimiter: str) -> str:
    """Return the quote character; "" if quotes are ordinary characters.

    Most tables that are separated by tabs do not quote.
    """
    if len(delimiter) > 1:
        return ""
    if delimiter != "\t":
        return '"'
    rows = [line.split(delimiter) for line in lines]
    if any(len(field) > 1 and field[0] == field[-1] == '"' for row in rows for field in row):
        return '"'
    # A quoted field may hold the separator: then only quotes make the rows equally long.
    return '"' if len({len(row) for row in rows}) > 1 and _splits(lines, delimiter, '"', None) else ""


def _escape(lines: Sequence[str], delimiter: str, quote: str) -> str:
    """Return the character that escapes a quote: a quote or a backslash.

    It is a backslash if only that splits all lines alike.
    """
    if not quote or f"\\{quote}" not in "\n".join(lines):
        return quote
    return "\\" if not _splits(lines, delimiter, quote, None) and _splits(lines, delimiter, quote, "\\") else quote


def _splits(lines: Sequence[str], delimiter: str, quote: str, escape: str | None) -> bool:
    """Return whether all records are well formed and equally long."""
    text = (f"{line}\n" for line in lines)
    rows = csv.reader(
        text, delimiter=delimiter, quotechar=quote, escapechar=escape, doublequote=escape is None, strict=True
    )
    widths: list[int] = []
    try:
        widths.extend(len(row) for row in rows if row)
    except csv.Error as error:
        if "unexpected end of data" not in str(error):  # the last record may be cut off
            return False
    return len(set(widths)) == 1
