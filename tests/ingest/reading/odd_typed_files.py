"""Odd Parquet and JSON files that are read, and their events."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from tests.ingest.reading.made_tables import BEGIN, ROWS, Case, Row, columns_of, parquet

USERS, ITEMS, SECONDS = columns_of(ROWS).values()
SMALL = [n % 7 for n in range(len(ROWS))]
NUMBERED = [row._replace(user=str(n)) for n, row in zip(SMALL, ROWS, strict=True)]
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def typed(**columns: Any) -> bytes:
    """A Parquet file of the rows, some of whose columns are given."""
    return parquet(**columns_of(ROWS) | columns)


def written(**options: Any) -> bytes:
    """A Parquet file of the rows, written with options of pyarrow."""
    out = io.BytesIO()
    times = pa.array([time * 10**9 for time in SECONDS], pa.timestamp("ns"))
    pyarrow.parquet.write_table(pa.table({"user_id": USERS, "item_id": ITEMS, "timestamp": times}), out, **options)
    return out.getvalue()


def objects(form: Callable[[str, str, float], dict[str, Any]]) -> bytes:
    """Lines of JSON."""
    return "".join(json.dumps(form(*row)) + "\n" for row in ROWS).encode()


def plain(user: str, item: str, time: float) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "timestamp": time}


LINES = objects(plain)
READ_TYPED: dict[str, Case] = {
    **{f"parquet, {name}": Case(written(compression=name), ROWS) for name in ("zstd", "gzip", "brotli", "lz4")},
    **{
        f"parquet, timestamps in {unit}": Case(
            typed(timestamp=pa.array([t * factor for t in SECONDS], pa.timestamp(unit, zone))), ROWS
        )
        for unit, factor in UNITS.items()
        for zone in (None, "Europe/Berlin")
    },
    "parquet, timestamps of 96 bits": Case(written(use_deprecated_int96_timestamps=True), ROWS),
    "parquet, lists and structs elsewhere": Case(typed(extra=[{"a": [1, 2]}] * len(ROWS)), ROWS),
    "parquet, large strings": Case(typed(user_id=pa.array(USERS, pa.large_string())), ROWS),
    "parquet, string views": Case(typed(user_id=pa.array(USERS, pa.string_view())), ROWS),
    "parquet, bytes": Case(typed(user_id=pa.array([u.encode() for u in USERS], pa.binary())), ROWS),
    "parquet, bytes of one size": Case(typed(user_id=pa.array([u.encode() for u in USERS], pa.binary(2))), ROWS),
    "parquet, decimal ids": Case(
        typed(user_id=pa.array([Decimal(n) for n in SMALL], pa.decimal128(20, 2))), NUMBERED
    ),
    "parquet, small integers": Case(typed(user_id=pa.array(SMALL, pa.int8())), NUMBERED),
    "parquet, largest integers": Case(
        typed(user_id=pa.array([2**64 - 1 - n for n in SMALL], pa.uint64())),
        [row._replace(user=str(2**64 - 1 - n)) for n, row in zip(SMALL, ROWS, strict=True)],
    ),
    "parquet, half floats": Case(typed(user_id=pa.array([float(n) for n in SMALL], pa.float32())), NUMBERED),
    "parquet, unsigned times": Case(typed(timestamp=pa.array(SECONDS, pa.uint64())), ROWS),
    "parquet, dates": Case(
        typed(timestamp=pa.array([18518] * len(ROWS), pa.date32())),
        [row._replace(time=18518 * 86400) for row in ROWS],
    ),
    "parquet, decimal times": Case(
        typed(timestamp=pa.array([Decimal(t) + Decimal("0.5") for t in SECONDS], pa.decimal128(20, 2))),
        [row._replace(time=row.time + 0.5) for row in ROWS],
    ),
    "parquet, dots in names": Case(parquet(**{"user.id": USERS, "item.id": ITEMS, "timestamp": SECONDS}), ROWS),
    "json with a mark": Case(b"\xef\xbb\xbf" + LINES, ROWS),
    "json in utf-16": Case(LINES.decode().encode("utf-16"), ROWS),
    "json with cr lf": Case(LINES.replace(b"\n", b"\r\n"), ROWS),
    "json with blank lines": Case(LINES.replace(b"\n", b"\n\n"), ROWS),
    "json, indented": Case(json.dumps([plain(*row) for row in ROWS], indent=2).encode(), ROWS),
    "json, numbers and texts as ids": Case(
        objects(lambda u, i, t: plain(int(u[1:]) if t % 2 else u[1:], i, t)),  # type: ignore[arg-type]
        [row._replace(user=row.user[1:]) for row in ROWS],
    ),
    "json, ids beyond 64 bits": Case(
        objects(lambda u, i, t: plain(10**25 + int(u[1:]), i, t)),  # type: ignore[arg-type]
        [row._replace(user=str(10**25 + int(row.user[1:]))) for row in ROWS],
    ),
    "json, ids like dates": Case(
        objects(lambda _u, _i, t: plain("2020-01-01", "12:30", t)), [Row("2020-01-01", "12:30", t) for *_, t in ROWS]
    ),
    "json, escapes": Case(
        b'{"user_id":"zo\\u00eb","item_id":"a\\"b","timestamp":1.6e9}\n', [Row("zoë", 'a"b', BEGIN)]
    ),
    "json, fields that differ": Case(
        objects(lambda u, i, t: plain(u, i, t) | {f"k{t}": 1, "x": 1 if t % 2 else {"y": [t]}}), ROWS
    ),
    "json in one long line": Case(
        ("[" + ",".join([json.dumps(plain("u", "i", BEGIN) | {"text": "x" * 1000})] * 9000) + "]").encode(),
        [Row("u", "i", BEGIN)] * 9000,
    ),
}
