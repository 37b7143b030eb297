"""More odd files that are refused, and what the refusal says."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

import pyarrow as pa

from tests.ingest.reading.made_tables import BEGIN, ROWS, Case, Row, parquet, table, titled, with_line
from tests.ingest.reading.odd_text_files import WIDE, at
from tests.ingest.reading.odd_typed_files import LINES, SMALL, USERS, objects, plain, typed


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("events.csv")
        info.size = len(table())
        archive.addfile(info, io.BytesIO(table().encode()))
    return out.getvalue()


TIMES = {
    "american dates": "09/13/2020 12:26",
    "german dates": "13.09.2020 12:26",
    "named zone": "2020-09-13 12:26:40 Europe/Berlin",
    "ambiguous zone": "2020-09-13 12:26:40 CET",
    "week dates": "2020-W37-7",
    "thousands separators": "1.600.000.000",
    "mail dates": "Sun 13 Sep 2020 12:26:40 GMT",
    "ten digits of a second": "2020-09-13T12:26:40.1234567891",
}
ONE_TIME = {
    "hexadecimal": ("0x5f5e100", "no time in seconds"),
    "true": ("true", "no time"),
    "empty": ("", "is missing"),
    "beyond int64": ("99999999999999999999", "no time"),
    "milliseconds among seconds": (f"{BEGIN}000", "no time in seconds"),
    "text among numbers": ("2020-09-13T00:00:00", "no time in seconds"),
}
ISO_TIMES = {"leap second": "2016-12-31T23:59:60Z", "no such day": "2020-02-30", "24 o'clock": "2020-09-13T24:00:00Z"}
CONTAINERS = {
    "tar": (_tar(), "TAR"),
    "tar in gzip": (gzip.compress(_tar()), "TAR"),
    "parquet in gzip": (gzip.compress(typed()), "compressed Parquet"),
    "gzip in gzip": (gzip.compress(gzip.compress(table().encode())), "compressed twice"),
    "lz4": (bytes(pa.compress(table().encode(), codec="lz4", asbytes=True)), "LZ4"),
    "zlib": (zlib.compress(table().encode()), "encoding"),
    "cut-off zstd": (
        bytes(pa.compress(table(rows=ROWS * 50).encode(), codec="zstd", asbytes=True))[:-20],
        "cut off",
    ),
    "rest after gzip": (gzip.compress(table().encode()) + b"rest", "damaged"),
    "encrypted parquet": (b"PARE" + bytes(50), "encrypted"),
    "damaged parquet": (typed()[:40] + b"\xff" * 30 + typed()[70:], "Parquet"),
    "web page": (b"<!DOCTYPE html><html><body>user item</body></html>", "web page"),
    "xml": (b"<?xml version='1.0'?><events><e user_id='1'/></events>", "XML"),
    "git lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS"),
}
NOT_EVENTS = {
    "yaml": b"- user_id: a\n  item_id: b\n- user_id: a\n  item_id: c\n",
    "program": b"import os\nprint(1)\n",
    "prose": b"hello world\nhow are you\n",
    "pairs without a header": b"1 10\n1 11\n2 10\n2 12\n",
    "sql": b"INSERT INTO events VALUES (1,2,1600000000);\n",
    "one column": b"user_id\nu1\nu2\n",
    "title before the header": ("Export of shop 2020\n" + table()).encode(),
}
ID_TYPES = {
    "lists": (typed(user_id=[[u] for u in USERS]), "list"),
    "structs": (typed(user_id=[{"id": u} for u in USERS]), "struct"),
    "durations": (typed(user_id=pa.array(SMALL, pa.duration("s"))), "duration"),
    "bytes that are no text": (typed(user_id=pa.array([b"\xff" + u.encode() for u in USERS])), "not UTF-8"),
    "large floats": (typed(user_id=[float(2**60 + n) for n in SMALL]), "too large to be exact"),
    "large 32-bit floats": (typed(user_id=pa.array([float(2**25 + n) for n in SMALL], pa.float32())), "too large"),
    "infinite floats": (typed(user_id=[float("inf"), *SMALL[1:]]), "too large"),
    "nulls": (typed(user_id=pa.nulls(len(ROWS))), "missing"),
}
JSON = {
    "objects as ids": (
        objects(lambda u, i, t: {"user": {"id": u}, "item_id": i, "timestamp": t}),
        "objects or lists",
    ),
    "lists as ids": (objects(lambda u, i, t: plain(u, [i], t)), "objects or lists"),  # type: ignore[arg-type]
    "objects among ids": (b'{"user":"u","item":"i"}\n{"user":{"a":1},"item":"i"}\n', "object 2: user is missing"),
    "lists of lists": (b'[["u", "i"], ["v", "i"]]', "holds no objects"),
    "wrapped": (b'{"events": ' + b"[" + LINES.strip().replace(b"\n", b",") + b"]}", "among 'events'"),
    "repeated key": (b'{"user_id":"u","user_id":"v","item_id":"i","timestamp":1}\n', "duplicate key"),
    "broken last line": (LINES + b'{"user_id":\n', f":{len(ROWS) + 1} is no JSON"),
    "other text among lines": (LINES + b"hello\n" + LINES, f":{len(ROWS) + 1} is no JSON"),
    "half a character": (b'{"user_id":"\\ud800","item_id":"i","timestamp":1}\n', "no JSON"),
    "control character": (b'{"user_id":"a\\nb","item_id":"i","timestamp":1}\n', "U+000A"),
    "empty list": (b"[]", "no objects"),
}
LATE = ROWS * 2200  # more than a chunk
MORE_REFUSED: dict[str, Case] = {
    **{f"time: {name}": Case(at(time), None, (":2", time, "ISO 8601")) for name, time in TIMES.items()},
    **{
        f"one time: {name}": Case(with_line(5, f"u,i,{time}"), None, (":5", says))
        for name, (time, says) in ONE_TIME.items()
    },
    **{
        f"one time: {name}": Case(
            with_line(5, f"u,i,{time}", at("2020-09-13T00:00:00Z").decode()), None, (":5", time)
        )
        for name, time in ISO_TIMES.items()
    },
    "one time of another form": Case(
        with_line(5, "u,i,2020-09-13", at("13.09.2020").decode()),
        None,
        (":5", "no time of the form %d.%m.%Y"),
        {"time_format": "%d.%m.%Y"},
    ),
    "misspelt column of unknown names": Case(
        table(";", "Kunde,Artikelnr,Datum").encode(),
        None,
        ("did you mean 'Artikelnr'",),
        {"user_column": "Kunde", "item_column": "Artikel"},
    ),
    "one day that is none": Case(with_line(5, "u,i,20201332", at("20200913").decode()), None, (":5", "YYYYMMDD")),
    "unsigned time beyond int64": Case(
        typed(timestamp=pa.array([2**64 - 1] * len(ROWS), pa.uint64())), None, ("row 1",)
    ),
    "parquet, times of day": Case(typed(timestamp=pa.array(SMALL, pa.time64("ns"))), None, ("row 1", "time64")),
    **{name: Case(data, None, (says,)) for name, (data, says) in CONTAINERS.items()},
    **{f"no events: {name}": Case(data, None, ("first line", "--columns")) for name, data in NOT_EVENTS.items()},
    **{f"parquet ids: {name}": Case(data, None, ("user_id", says)) for name, (data, says) in ID_TYPES.items()},
    **{f"json: {name}": Case(data, None, (says,)) for name, (data, says) in JSON.items()},
    "late missing field": Case((table(rows=LATE) + "u,i\n").encode(), None, (f":{len(LATE) + 2}", "2 fields")),
    "late quote": Case((table(rows=LATE) + 'u,"i,1\n').encode(), None, (f":{len(LATE) + 2}", "quote")),
    "late latin-1": Case(table(rows=LATE).encode() + b"u\xff,i,1\n", None, (f":{len(LATE) + 2}", "UTF-8")),
    "line longer than a buffer": Case(
        (WIDE + f"u,i,{BEGIN}," + "x" * (17 << 20) + "\n").encode(), None, (":2", "8 MiB")
    ),
    "line longer than a buffer, bad rows skipped": Case(
        (WIDE + f"u,i,{BEGIN},x\n" * 9 + f"u,i,{BEGIN}," + "x" * (17 << 20) + "\n").encode(),
        None,
        (":11", "8 MiB"),
        {"max_bad_rows": 0.5},
    ),
    "line after comments": Case(b"# c\n\n" + with_line(5, "u,i,never"), None, (":7", "never")),
    "fields after comments": Case(b"# c\n\n" + with_line(5, "u,i"), None, (":7", "2 fields")),
    "comment among rows": Case(with_line(9, "# a comment"), None, (":9", "1 fields")),
    "joined files": Case((table() * 2).encode(), None, (f":{len(ROWS) + 2}", "'timestamp'")),
    "joined files without times": Case(b"user,item\na,b\nuser,item\nc,d\n", None, (":3", "header once more")),
    "header beside columns": Case(b"user,item\na,b\n", None, ("leave --columns out",), {"columns": ("user", "item")}),
    "two separators fit": Case(b"a,b;c\n" * 9, None, ("--delimiter",), {"columns": ("user", "item")}),
    "separator that is too long": Case(table("<--->").encode(), None, ("4 bytes",), {"delimiter": "<--->"}),
    **{
        f"codec {name}": Case(table().encode(), None, ("--encoding", name), {"encoding": name})
        for name in ("rot13", "base64", "undefined")
    },
    "half a utf-16 character": Case(table().encode("utf-16")[:-1], None, ("utf-16",)),
    "utf-16 cut in a surrogate": Case(
        table().encode("utf-16")[:300] + b"\x00\xd8" + table().encode("utf-16")[300:], None, ("not utf-16", ":")
    ),
    "line break in a zone of C1": Case(table(rows=[Row("u\u0085v", "i", 1)]).encode(), None, (":2", "U+0085")),
    "text after a quote, late": Case(titled(5000, {4000: f'u,i,"a"b,{BEGIN}'}), None, (":4002", "quote")),
    "all rows bad": Case(b"user,item,time\nu,i,x\n", None, ("no events", "1 rows"), {"max_bad_rows": 1.0}),
    "parquet without rows": Case(
        parquet(user=pa.array([], pa.string()), item=pa.array([], pa.string())), None, ("no events",)
    ),
}
