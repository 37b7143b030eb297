"""Odd tables in text that are read, and their events."""

from __future__ import annotations

import gzip

from tests.ingest.reading.made_tables import BEGIN, ROWS, Case, Row, table, with_line

WIDE = "user_id,item_id,timestamp,text\n"
ONE = [Row("u", "i", BEGIN)]


def at(time: str, delimiter: str = ",") -> bytes:
    """A table whose rows all have this time."""
    return table(delimiter, rows=[Row(u, i, time) for u, i, _ in ROWS]).encode()  # type: ignore[arg-type]


def all_at(time: float) -> list[Row]:
    return [row._replace(time=time) for row in ROWS]


READ_TEXT: dict[str, Case] = {
    "comments before the header": Case(("# made by x\n# on y\n" + table()).encode(), ROWS),
    "comments before rows": Case(
        ("# c\r\n\r\n" + table(header=None, end="\r\n")).encode(), ROWS, options={"columns": ("user", "item", "time")}
    ),
    "header behind a hash": Case(("#" + table()).encode(), ROWS),
    "blank first lines": Case(("\n\n" + table()).encode(), ROWS),
    "a spreadsheet's separator line": Case(("sep=;\n" + table(";")).encode(), ROWS),
    "separator after every row": Case(table().replace("\n", ",\n").encode(), ROWS),
    "column of row numbers": Case(
        (",user_id,item_id,timestamp\n" + "".join(f"{n},{u},{i},{t}\n" for n, (u, i, t) in enumerate(ROWS))).encode(),
        ROWS,
    ),
    "quoted header": Case(table(header='"user_id","item_id","timestamp"').encode(), ROWS),
    "single quotes": Case(
        ("'user_id','item_id','timestamp'\n" + "".join(f"'{u}','{i}',{t}\n" for u, i, t in ROWS)).encode(), ROWS
    ),
    "spaces around names": Case(table(header=" user_id , item_id , timestamp ").encode(), ROWS),
    "upper-case names": Case(table(header="USER_ID,Item ID,TimeStamp").encode(), ROWS),
    "other names twice": Case(
        ("user_id,item_id,timestamp,x,x\n" + "".join(f"{u},{i},{t},1,2\n" for u, i, t in ROWS)).encode(), ROWS
    ),
    "two columns of users": Case(
        ("session_id,user_id,item_id,timestamp\n" + "".join(f"s,{u},{i},{t}\n" for u, i, t in ROWS)).encode(), ROWS
    ),
    "mark and cr": Case(("\ufeff" + table(end="\r")).encode(), ROWS),
    "spaces around fields": Case(table(" ; ").encode(), ROWS),
    "decimal commas": Case(
        ("user_id;item_id;timestamp;p\n" + "".join(f"{u};{i};{t};1,50\n" for u, i, t in ROWS)).encode(), ROWS
    ),
    "long field": Case((WIDE + f"u,i,{BEGIN}," + "x" * (3 << 20) + "\n").encode(), ONE),
    "thousands of columns": Case(
        (
            ",".join(["user_id", "item_id", "timestamp", *(f"c{n}" for n in range(2000))])
            + "\n"
            + "".join(",".join([u, i, str(t), *["1"] * 2000]) + "\n" for u, i, t in ROWS)
        ).encode(),
        ROWS,
    ),
    "doubled quotes": Case(table(rows=[Row('"a ""b"" c"', "i", BEGIN)]).encode(), [Row('a "b" c', "i", BEGIN)]),
    "backslash before quotes": Case((WIDE + f'u,i,{BEGIN},"a \\"b\\" c, d"\n' * 3).encode(), ONE * 3),
    "backslash at the end of a quoted field": Case(
        (WIDE + f'u,i,{BEGIN},"c:\\dir\\"\nu,i,{BEGIN},"x"\n').encode(), ONE * 2
    ),
    "quote inside a field": Case((WIDE + f'u,i,{BEGIN},5" disc\nu,i,{BEGIN},x\n').encode(), ONE * 2),
    "right-to-left marks": Case(
        table(rows=[Row("\u202euser", "\u200fi", BEGIN)]).encode(), [Row("\u202euser", "\u200fi", BEGIN)]
    ),
    "normal forms": Case(
        table(rows=[Row("é", "i", BEGIN), Row("e\u0301", "i", BEGIN)]).encode(),
        [Row("é", "i", BEGIN), Row("e\u0301", "i", BEGIN)],
    ),
    "longest id": Case(table(rows=[Row("😀" * 256, "i", BEGIN)]).encode(), [Row("😀" * 256, "i", BEGIN)]),
    "gb18030": Case(
        table(rows=[Row("東京", "i", BEGIN)]).encode("gb18030"),
        [Row("東京", "i", BEGIN)],
        options={"encoding": "gb18030"},
    ),
    "fractions of seconds": Case(
        table(rows=[Row(u, i, t + 0.5) for u, i, t in ROWS]).encode(), [Row(u, i, t + 0.5) for u, i, t in ROWS]
    ),
    "days as numbers": Case(at("20200913"), all_at(1_599_955_200)),
    "minutes as numbers": Case(at("202009131226"), all_at(BEGIN - 40)),
    "comma before milliseconds": Case(at("2020-09-13 12:26:40,500", ";"), all_at(BEGIN + 0.5)),
    "minutes": Case(at("2020-09-13T12:26"), all_at(BEGIN - 40)),
    "tab in the only quoted fields": Case(
        ("user_id\ttext\titem_id\ttimestamp\n" + "".join(f'{u}\t"a\tb"\t{i}\t{t}\n' for u, i, t in ROWS)).encode(),
        ROWS,
    ),
    "german dates": Case(at("13.09.2020 12:26", ";"), all_at(BEGIN - 40), options={"time_format": "%d.%m.%Y %H:%M"}),
    "american dates": Case(at("9/13/2020"), all_at(1_599_955_200), options={"time_format": "%m/%d/%Y"}),
    "offsets in a format": Case(
        at("13.09.2020 14:26:40 +0200"), all_at(BEGIN), options={"time_format": "%d.%m.%Y %H:%M:%S %z"}
    ),
    "control character as separator": Case(table("\x01").encode(), ROWS, options={"delimiter": "\x01"}),
    "two bars as separator": Case(table("||").encode(), ROWS, options={"delimiter": "||"}),
    "foreign names": Case(
        table(header="utilisateur,référence,quand").encode(),
        ROWS,
        options={"user_column": "utilisateur", "item_column": "référence", "time_column": "quand"},
    ),
    "bad row after the first chunk": Case(
        (table(rows=ROWS * 2200) + "u,i\n").encode(), ROWS * 2200, options={"max_bad_rows": 0.1}
    ),
    "joined gzip files": Case(gzip.compress(table()[:400].encode()) + gzip.compress(table()[400:].encode()), ROWS),
    "one event": Case(f"user_id,item_id,timestamp\nu,i,{BEGIN}".encode(), ONE),
    "missing value of MySQL": Case(
        with_line(9, f"\\N,i,{BEGIN}"), [*ROWS[:7], *ROWS[8:]], options={"max_bad_rows": 0.1}
    ),
}
