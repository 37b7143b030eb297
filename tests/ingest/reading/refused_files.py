"""Odd files of events that are refused, and what the refusal says."""

from __future__ import annotations

import gzip
import io

import pyarrow as pa
import pyarrow.parquet

from tests.ingest.reading.made_tables import (
    BEGIN,
    ROWS,
    Case,
    Row,
    columns_of,
    iso,
    parquet,
    table,
    titled,
    with_line,
)

DUPLICATED = pa.Table.from_arrays(
    [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], ["user_id", "item_id", "user_id"]
)


def _duplicated() -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(DUPLICATED, out)
    return out.getvalue()


REFUSED: dict[str, Case] = {
    "empty": Case(b"", None, ("is empty",)),
    "header only": Case(b"user_id,item_id\n", None, ("no events",)),
    "unknown header": Case(table(header="a,b,c").encode(), None, ("'a,b,c'", "--user-column")),
    "no header": Case(table("\t", None).encode(), None, ("first line", "--columns")),
    "no header, double colons": Case(table("::", None).encode(), None, ("first line", "--columns")),
    "spaces, unknown header": Case(
        ("uid2 thing when\n" + "".join(f"{n} {n} {BEGIN}\n" for n in range(9))).encode(),
        None,
        ("--columns", "--histories"),
    ),
    "spaces, no header": Case(
        "".join(f"{n} {n} {BEGIN}\n" for n in range(9)).encode(), None, ("--columns", "--histories")
    ),
    "wrong columns option": Case(table(header=None).encode(), None, ("3",), {"columns": ("user", "item")}),
    "misspelt column": Case(table().encode(), None, ("did you mean 'user_id'",), {"user_column": "user_ids"}),
    "column twice": Case(b"user_id,item_id,user_id\na,b,c\n", None, ("'user_id'", "2 times")),
    "parquet, column twice": Case(_duplicated(), None, ("'user_id'", "2 times")),
    "missing item column": Case(b"user_id,price\nu,1\n", None, ("--item-column",)),
    "missing field": Case(with_line(5, "u1,i1"), None, (":5", "2 fields instead of 3", "--skip-bad-rows")),
    "field too many": Case(with_line(5, f"u1,i1,{BEGIN},x"), None, (":5", "4 fields instead of 3")),
    "stray quote": Case(titled(2000, {3: f'u3,i3,"stray,{BEGIN}'}), None, (":5", "quote")),
    "stray quote at both ends": Case(
        titled(2000, {3: f'u3,i3,"stray,{BEGIN}', 999: f'u9,i9,stray",{BEGIN}'}), None, (":5", "whole rows")
    ),
    "text after a quote": Case(titled(50, {3: f'u3,i3,"a"b,{BEGIN}'}), None, (":5", "quote")),
    "empty id": Case(with_line(5, f",i1,{BEGIN}"), None, (":5", "user_id", "missing")),
    "long id": Case(with_line(5, f"{'x' * 257},i1,{BEGIN}"), None, (":5", "257 characters", "256")),
    "control character": Case(with_line(5, f"u1,i\x071,{BEGIN}"), None, (":5", "U+0007")),
    "missing number": Case(
        table(rows=[Row("1", "2.0", 1), Row("1", "NaN", 2)]).encode(), None, (":3", "item_id", "missing")
    ),
    "parquet, missing float": Case(
        parquet(user=[1.0, float("nan")], item=[1, 2]), None, ("row 2", "user", "missing")
    ),
    "american date": Case(with_line(5, "u1,i1,12/31/2020", iso("%Y-%m-%d")), None, (":5", "12/31/2020", "ISO 8601")),
    "words for times": Case(with_line(5, "u1,i1,yesterday"), None, (":5", "yesterday")),
    "infinite time": Case(with_line(5, "u1,i1,inf"), None, (":5", "inf")),
    "year 9999": Case(with_line(5, "u1,i1,9999-12-31", iso("%Y-%m-%d")), None, (":5", "9999-12-31")),
    "two units of time": Case(with_line(5, f"u1,i1,{BEGIN * 10**6}"), None, (":5", "seconds")),
    "latin-1": Case(table(rows=[Row("zoë", "i", 1)]).encode("latin-1"), None, (":2", "UTF-8", "--encoding")),
    "unknown encoding": Case(table().encode(), None, ("--encoding", "klingon"), {"encoding": "klingon"}),
    "utf-16 without mark": Case(table().encode("utf-16-le"), None, ("utf-16-le",)),
    "zero byte": Case(with_line(5, f"u1,i\x001,{BEGIN}"), None, (":5", "zero byte")),
    "cut-off gzip": Case(gzip.compress(table(rows=ROWS * 50).encode())[:90], None, ("damaged or cut off",)),
    "zip": Case(b"PK\x03\x04 and so on", None, ("ZIP", "unpack")),
    "excel": Case(b"\xd0\xcf\x11\xe0 and so on", None, ("Excel", "CSV")),
    "sqlite": Case(b"SQLite format 3\x00", None, ("SQLite", "CSV")),
    "pickle": Case(b"\x80\x04\x95 and so on", None, ("pickle",)),
    "cut-off parquet": Case(parquet(**columns_of(ROWS))[:-20], None, ("Parquet",)),
    "broken json": Case(b'{"user_id": "u", "item_id": "i"}\n{"user_id": \n', None, ("JSON",)),
    "json without items": Case(b'{"user_id": "u"}\n', None, ("--item-column",)),
    "too many bad rows": Case(with_line(5, "u1"), None, ("1 of 60", "--skip-bad-rows"), {"max_bad_rows": 0.001}),
}
