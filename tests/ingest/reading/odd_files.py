"""Odd files of events: each is read right, or refused in one sentence with file, line and remedy."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet

BEGIN = 1_600_000_000


class Row(NamedTuple):
    """One event that a file was made from; time in whole Unix seconds."""

    user: str
    item: str
    time: int


# Users and items interleave, times tie and go back: order must survive all of it.
ROWS = [Row(f"u{n % 7}", f"i{(n * 5) % 13}", BEGIN + (n * 37) % 50 // 2) for n in range(60)]


class Case(NamedTuple):
    """A file, the options to read it with, and what must come of it.

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
DUPLICATED = pa.Table.from_arrays(
    [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], ["user_id", "item_id", "user_id"]
)


def _duplicated() -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(DUPLICATED, out)
    return out.getvalue()


READ: dict[str, Case] = {
    "csv": Case(table().encode(), ROWS),
    "tabs": Case(table("\t").encode(), ROWS),
    "semicolons": Case(table(";").encode(), ROWS),
    "pipes": Case(table("|").encode(), ROWS),
    "double colons": Case(table("::").encode(), ROWS),
    "spaces": Case(table(" ").encode(), ROWS, name="events.txt"),
    "misleading ending": Case(table("\t").encode(), ROWS, name="events.csv"),
    "upper-case ending": Case(table().encode(), ROWS, name="EVENTS.CSV"),
    "cr lf": Case(table(end="\r\n").encode(), ROWS),
    "cr": Case(table(end="\r").encode(), ROWS),
    "mixed line ends": Case((table(rows=ROWS[:30], end="\r\n") + table(header=None, rows=ROWS[30:])).encode(), ROWS),
    "no last line end": Case(table().rstrip("\n").encode(), ROWS),
    "blank lines": Case(table().replace("\n", "\n\n").encode(), ROWS),
    "byte order mark": Case(table().encode("utf-8-sig"), ROWS),
    "utf-16": Case(table().encode("utf-16"), ROWS),
    "utf-32": Case(table().encode("utf-32"), ROWS),
    "latin-1 by option": Case(
        table(rows=[Row("zoë", "café", BEGIN)]).encode("latin-1"),
        [Row("zoë", "café", BEGIN)],
        options={"encoding": "latin-1"},
    ),
    "unicode ids": Case(table(rows=[Row("Zoë 🎬", "東京", BEGIN)]).encode(), [Row("Zoë 🎬", "東京", BEGIN)]),
    "gzip": Case(gzip.compress(table().encode()), ROWS, name="events.csv.gz"),
    "gzip without ending": Case(gzip.compress(table().encode()), ROWS),
    "bzip2": Case(bz2.compress(table().encode()), ROWS),
    "xz": Case(lzma.compress(table().encode()), ROWS),
    "zstandard": Case(bytes(pa.compress(table().encode(), codec="zstd", asbytes=True)), ROWS),
    "all quoted": Case(table().replace(",", '","').replace("\n", '"\n"').rstrip('"').join(('"', "")).encode(), ROWS),
    "other columns": Case(
        ("event,user_id,price,item_id,timestamp\n" + "".join(f"view,{u},1.5,{i},{t}\n" for u, i, t in ROWS)).encode(),
        ROWS,
    ),
    "quoted line breaks": Case(
        (
            "user_id,item_id,review,timestamp\n" + "".join(f'{u},{i},"so, so\n\nbye",{t}\n' for u, i, t in ROWS)
        ).encode(),
        ROWS,
    ),
    "long quoted field": Case(
        ("user_id,item_id,review,timestamp\n" + 'u,i,"' + "word\n" * 500_000 + f'",{BEGIN}\n').encode(),
        [Row("u", "i", BEGIN)],
    ),
    "doubled quotes": Case(
        f'user_id,item_id,timestamp\n"the ""best"" u",i,{BEGIN}\n'.encode(), [Row('the "best" u', "i", BEGIN)]
    ),
    "quotes inside a field": Case(f'user_id,item_id,timestamp\nu"1,i,{BEGIN}\n'.encode(), [Row('u"1', "i", BEGIN)]),
    "unquoted tabs with quotes": Case(
        f'user_id\titem_id\ttimestamp\n"u\ti\t{BEGIN}\n'.encode(), [Row('"u', "i", BEGIN)]
    ),
    "recbole": Case(table("\t", "user_id:token,item_id:token,timestamp:float").encode(), ROWS, name="ml.inter"),
    "common names": Case(table(header="visitorid,itemid,ts").encode(), ROWS),
    "named columns": Case(
        table(header="who,what,when").encode(),
        ROWS,
        options={"user_column": "who", "item_column": "what", "time_column": "when"},
    ),
    "no header, named": Case(
        table("::", None).encode(), ROWS, options={"columns": ("user", "item", "timestamp")}, name="ratings.dat"
    ),
    "no header, tabs": Case(table("\t", None).encode(), ROWS, options={"columns": ("user", "item", "time")}),
    "dates": Case(iso("%Y-%m-%d").encode(), [row._replace(time=BEGIN // 86400 * 86400) for row in ROWS]),
    "iso with T": Case(iso("%Y-%m-%dT%H:%M:%S").encode(), ROWS),
    "iso with space": Case(iso("%Y-%m-%d %H:%M:%S").encode(), ROWS),
    "iso with Z": Case(iso("%Y-%m-%dT%H:%M:%S.000Z").encode(), ROWS),
    "iso with UTC": Case(iso("%Y-%m-%d %H:%M:%S UTC").encode(), ROWS),
    "iso with offset": Case(iso("%Y-%m-%dT%H:%M:%S+00:00").encode(), ROWS),
    "dates, then datetimes": Case(
        with_line(3, f"u1,i5,{datetime.fromtimestamp(ROWS[1].time, UTC).isoformat()}", iso("%Y-%m-%d %H:%M:%S")), ROWS
    ),
    "float seconds": Case(table(rows=[row._replace(time=f"{row.time}.0") for row in ROWS]).encode(), ROWS),  # type: ignore[arg-type]
    "milliseconds": Case(table(rows=[row._replace(time=row.time * 1000) for row in ROWS]).encode(), ROWS),
    "small numbers": Case(
        table(rows=[Row("u", "a", 2), Row("u", "b", 1)]).encode(), [Row("u", "a", 2), Row("u", "b", 1)]
    ),
    "ids as floats": Case(
        table(rows=[Row(f"{row.user}.0", f"{row.item}.0", row.time) for row in NUMBERED]).encode(), NUMBERED
    ),
    "ids that look missing": Case(
        table(rows=[Row("NA", "null", BEGIN), Row("None", "NaN", BEGIN)]).encode(),
        [Row("NA", "null", BEGIN), Row("None", "NaN", BEGIN)],
    ),
    "spaces around ids": Case(
        table(rows=[Row(" u", " i", BEGIN)]).replace(",", ", ").encode(), [Row("u", "i", BEGIN)]
    ),
    "json lines": Case(
        "".join(
            json.dumps(dict(zip(("user_id", "item_id", "timestamp"), row, strict=True))) + "\n" for row in ROWS
        ).encode(),
        ROWS,
    ),
    "json array": Case(
        json.dumps([dict(zip(("user_id", "item_id", "timestamp"), row, strict=True)) for row in ROWS]).encode(), ROWS
    ),
    "parquet": Case(parquet(**columns_of(ROWS)), ROWS, name="events.txt"),
    "parquet, dictionaries": Case(
        parquet(**columns_of(ROWS) | {"user_id": pa.array(columns_of(ROWS)["user_id"]).dictionary_encode()}), ROWS
    ),
    "parquet, timestamps": Case(
        parquet(**columns_of(ROWS) | {"timestamp": pa.array(columns_of(ROWS)["timestamp"], pa.timestamp("s"))}), ROWS
    ),
    "parquet, ids as floats": Case(
        parquet(**columns_of(NUMBERED) | {"user_id": [float(row.user) for row in NUMBERED]}), NUMBERED
    ),
    "parquet, text times": Case(
        parquet(
            **columns_of(ROWS) | {"timestamp": [datetime.fromtimestamp(row.time, UTC).isoformat() for row in ROWS]}
        ),
        ROWS,
    ),
    "parquet, decimals": Case(parquet(**columns_of(ROWS) | {"timestamp": [Decimal(row.time) for row in ROWS]}), ROWS),
    "bad rows skipped": Case(with_line(5, "u1"), [*ROWS[:3], *ROWS[4:]], options={"max_bad_rows": 0.05}),
    "bad times skipped": Case(with_line(5, "u1,i1,never"), [*ROWS[:3], *ROWS[4:]], options={"max_bad_rows": 0.05}),
}

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
