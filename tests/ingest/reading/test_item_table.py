"""Tables of items of every form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.item_table import ItemTableOptions, ItemText, read_items

ITEMS = [
    ItemText("1", "Amélie, or not", ("Comedy", "Romance")),
    ItemText("007", "東京", ()),
    ItemText("3", None, ("Drama",)),
]


def csv(header: str = "movieId,title,genres", mark: str = "|") -> str:
    rows = [f'{i},"{t or ""}",{mark.join(c)}' for i, t, c in ITEMS]
    return "\n".join([header, *rows, ""])


def objects() -> list[dict[str, object]]:
    return [{"asin": i, "title": t, "price": 3, "categories": list(c)} for i, t, c in ITEMS]


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (csv().encode(), {}),
        (csv(mark=";").encode(), {}),
        (csv().encode("utf-16"), {}),
        (gzip.compress(csv().encode()), {}),
        (csv().replace(",", "\t").replace("Amélie\t", "Amélie,").encode(), {}),
        (csv("sku,text,kind").encode(), {"title_column": "text", "categories_column": "kind"}),
        (csv().split("\n", 1)[1].encode(), {"reading": ReadOptions(columns=("id", "name", "genre"))}),
        ("".join(f"{i}::{t or ''}::{'|'.join(c)}\n" for i, t, c in ITEMS).encode(), {}),
        ("".join(json.dumps(each) + "\n" for each in objects()).encode(), {}),
        (json.dumps(objects()).encode(), {}),
    ],
    ids=["csv", "semicolons", "utf-16", "gzip", "tabs", "named", "no header", "movies.dat", "json lines", "json"],
)
def test_items_are_read_from_any_form(tmp_path: Path, data: bytes, options: dict[str, object]) -> None:
    (tmp_path / "items").write_bytes(data)
    assert list(read_items(tmp_path / "items", ItemTableOptions(**options))) == ITEMS  # type: ignore[arg-type]


def test_items_are_read_from_parquet(tmp_path: Path) -> None:
    table = pa.table({"item_id": [1.0, 2.0], "title": ["a", None], "tags": [["x", "y"], None]})
    pyarrow.parquet.write_table(table, tmp_path / "items")
    assert list(read_items(tmp_path / "items", ItemTableOptions())) == [
        ItemText("1", "a", ("x", "y")),
        ItemText("2", None, ()),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("item_id,price\n1,2\n", "--title-column"),
        ("a,b\n1,2\n", "--item-column"),
        ("item_id,title\n,x\n", "row 1: the id of an item is missing"),
        ("item_id,title\n1,2,3\n", ":2 has 3 fields instead of 2"),
        ('item_id,title\n1,"a\n2,b\n3,c\n4,d\n5,e"\n', "whole rows"),
    ],
)
def test_table_that_is_not_understood_raises(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "items.csv").write_text(text)
    with pytest.raises(DataError, match=says) as refusal:
        list(read_items(tmp_path / "items.csv", ItemTableOptions()))
    assert "items.csv" in str(refusal.value)
