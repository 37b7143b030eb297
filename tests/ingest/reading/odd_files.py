"""Odd files of events that are read, and their events."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa

from tests.ingest.reading.made_tables import (
    BEGIN,
    NUMBERED,
    ROWS,
    Case,
    Row,
    columns_of,
    iso,
    parquet,
    table,
    with_line,
)

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
