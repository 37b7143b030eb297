"""Files that combine id, time, separator, encoding, compression, line end and quotes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa

from tests.ingest.reading.made_tables import BEGIN, Case, Row

_HEADER = ("user_id", "item_id", "timestamp")


def _cycle(*values: str) -> Callable[[int], str]:
    return lambda n: values[n % len(values)]


def _iso(form: str, offset: timedelta = timedelta()) -> Callable[[int], str]:
    return lambda time: datetime.fromtimestamp(time, timezone(offset)).strftime(form)


# Ids of users; the items have the same in another order.
IDS: dict[str, Callable[[int], str]] = {
    "plain": lambda n: f"u{n % 7}",
    "leading zeros": lambda n: f"{n % 7:05d}",
    "negative": lambda n: str(n % 7 - 3),
    "beyond int64": lambda n: str(2**63 + n % 7),
    "exponents": lambda n: f"1e{n % 7}",
    "dates": lambda n: f"2020-01-0{n % 7 + 1}",
    "booleans": _cycle("true", "false", "True", "no", "0", "t"),
    "missing words": _cycle("NULL", "NA", "nan", "None", "-"),
    "unicode": _cycle("zoë", "zoe\u0308", "ÅÄÖ", "ñandú"),
    "beyond latin-1": _cycle("東京", "😀😀", "x\u200fy", "\u202eabc", "ﬁ"),
    "hexadecimal": lambda n: f"0x{n % 7:x}f",
    "uuids": lambda n: f"{n % 7:08d}-0000-4000-8000-000000000000",
    "fractions": lambda n: f"{n % 7}.5",
    "odd numbers": _cycle("inf", "+1", "1.", "1_000", ".5", "\u0661"),
    "quotes and separators": _cycle('a"b', "c,d", "e;f|g", "::h"),
}
TIMES: dict[str, Callable[[int], str]] = {
    "seconds": str,
    "milliseconds": lambda time: str(time * 1000),
    "microseconds": lambda time: str(time * 10**6),
    "nanoseconds": lambda time: str(time * 10**9),
    "float seconds": lambda time: f"{time}.0",
    "exponents": lambda time: f"{time:.9E}",
    "calendar numbers": _iso("%Y%m%d%H%M%S"),
    "iso": _iso("%Y-%m-%dT%H:%M:%S"),
    "Z": _iso("%Y-%m-%dT%H:%M:%SZ"),
    "lower case": _iso("%Y-%m-%dt%H:%M:%Sz"),
    "slashes": _iso("%Y/%m/%d %H:%M:%S"),
    "basic": _iso("%Y%m%dT%H%M%SZ"),
    "nanosecond digits": _iso("%Y-%m-%d %H:%M:%S.000000000"),
    "+02:00": lambda time: datetime.fromtimestamp(time, timezone(timedelta(hours=2))).isoformat(),
    "+02": _iso("%Y-%m-%d %H:%M:%S+02", timedelta(hours=2)),
    "space before the offset": _iso("%Y-%m-%d %H:%M:%S -0530", -timedelta(hours=5, minutes=30)),
    "UTC": _iso("%Y-%m-%d %H:%M:%S UTC"),
    "GMT": _iso("%Y-%m-%d %H:%M:%S GMT"),
}
SEPARATORS = (",", ";", "|", "\t", "::")
LINE_ENDS = ("\n", "\r\n", "\r", "mixed")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp1252")
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}


def combined_files(count: int, seed: int = 0) -> Iterator[tuple[str, Case]]:
    """Yield files, and what describes them; every part occurs about equally often."""
    rng = random.Random(seed)
    while count:
        ids, times, encoding, compression = (rng.choice([*part]) for part in (IDS, TIMES, ENCODINGS, COMPRESSIONS))
        separator, end, quoted = rng.choice(SEPARATORS), rng.choice(LINE_ENDS), rng.random() < 0.3
        order = rng.choice([(0, 1, 2), (1, 0, 2), (2, 0, 1)])
        has_header, has_title = rng.random() < 0.8, rng.random() < 0.4
        rows = [Row(IDS[ids](n), IDS[ids](5 * n + 1), BEGIN + n * 37 % 50 // 2 * 3600) for n in range(30)]
        fields = [[_HEADER[k] for k in order]] * has_header
        fields += [[(row.user, row.item, TIMES[times](int(row.time)))[k] for k in order] for row in rows]
        if has_title:
            titles = ["title", "", "a title, with comma", 'say "hi"'] + ["two\nlines"] * (end != "\r")
            for number, row_fields in enumerate(fields):
                row_fields.insert(1, titles[0] if has_header and not number else rng.choice(titles[1:]))
        try:
            data, options = _encoded(_joined(fields, separator, end, quoted=quoted), encoding)
        except UnicodeError:
            continue
        if not has_header:
            names = [_HEADER[k] for k in order]
            options["columns"] = tuple(names[:1] + ["title"] * has_title + names[1:])
        name = f"{ids}, {times}, {separator!r}, {encoding}, {compression}, {end!r}, {quoted}, {order}, {has_header}"
        yield name, Case(COMPRESSIONS[compression](data), rows, options=options)
        count -= 1


def _joined(records: list[list[str]], separator: str, end: str, *, quoted: bool) -> str:
    """Return the text of a table; `UnicodeError` if it cannot hold them."""
    lines = []
    for number, fields in enumerate(records):
        marks = (separator, '"', "\n")
        if separator == "::" and any(mark in field for field in fields for mark in marks):
            raise UnicodeError
        must = [separator != "::" and (quoted or any(mark in field for mark in marks)) for field in fields]
        shown = ['"' + f.replace('"', '""') + '"' if own else f for f, own in zip(fields, must, strict=True)]
        lines.append(separator.join(shown) + (("\r\n", "\n")[number % 2] if end == "mixed" else end))
    return "".join(lines)


def _encoded(text: str, encoding: str) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes, and the option for one without a mark."""
    options: dict[str, Any] = {"encoding": encoding} if encoding in ("utf-16-be", "cp1252") else {}
    return text.encode(encoding), options
