"""Bytes of small files of events, made by the tests."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet

BEGIN = 1_600_000_000


class Row(NamedTuple):
    """One event of a made file; time in Unix seconds."""

    user: str
    item: str
    time: float


# Users and items interleave, times tie and go back: order must survive all of it.
ROWS = [Row(f"u{n % 7}", f"i{(n * 5) % 13}", BEGIN + (n * 37) % 50 // 2) for n in range(60)]


class Case(NamedTuple):
    """A file, the options to read it with, and the expected outcome.

    Attributes:
        data: bytes of the file.
        rows: events it must be read as; None: it must be refused.
        says: parts that the refusal must have.
        options: of `ReadOptions`.
        name: of the file; most have an ending that says nothing.
    """

    data: bytes
    rows: Sequence[Row] | None
    says: tuple[str, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed
    name: str = "events.data"


def table(
    delimiter: str = ",",
    header: str | None = "user_id,item_id,timestamp",
    rows: Sequence[Row] = ROWS,
    end: str = "\n",
) -> str:
    """Text of a table."""
    lines = [] if header is None else [header.replace(",", delimiter)]
    return end.join([*lines, *(delimiter.join(map(str, row)) for row in rows), ""])


def iso(form: str) -> str:
    """Text of a table whose times have this form of `strftime`."""
    lines = [f"{u},{i},{datetime.fromtimestamp(t, UTC).strftime(form)}" for u, i, t in ROWS]
    return "\n".join(["user_id,item_id,timestamp", *lines, ""])


def with_line(number: int, line: str, text: str | None = None) -> bytes:
    """The table with one line (from 1) replaced."""
    lines = (text or table()).split("\n")
    lines[number - 1] = line
    return "\n".join(lines).encode()


def titled(lines: int, broken: dict[int, str]) -> bytes:
    """A table with titles, some of whose lines are given."""
    rows = [f"u{n},i{n},title {n},{BEGIN + n}" for n in range(lines)]
    for number, line in broken.items():
        rows[number] = line
    return "\n".join(["user_id,item_id,title,timestamp", *rows, ""]).encode()


def parquet(**columns: Any) -> bytes:
    """Bytes of a Parquet file."""
    out = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), out)
    return out.getvalue()


def columns_of(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Columns of a table by name."""
    return {
        "user_id": [row.user for row in rows],
        "item_id": [row.item for row in rows],
        "timestamp": [row.time for row in rows],
    }


NUMBERED = [Row(str(n % 5), str(n % 9), BEGIN + n) for n in range(40)]
UNTIMED = {"user": ["u", "v", "u"], "item": ["a", "b", "c"]}
