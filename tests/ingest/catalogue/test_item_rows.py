"""Tables of items of every form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from ingest.catalogue.item_loader import ItemTable
from ingest.catalogue.item_rows import TableOptions
from ingest.errors import DataError
from ingest.read_options import ReadOptions


def table(path: Path, content: str) -> ItemTable:
    path.write_text(content)
    return ItemTable(path, TableOptions(), {})


ROWS = [("1", "Amélie, or not", ["Comedy", "Romance"]), ("007", "東京", []), ("3", None, ["Drama"])]


def csv_of(header: str = "movieId,title,genres", mark: str = "|") -> str:
    rows = [f'{item},"{title or ""}",{mark.join(kinds)}' for item, title, kinds in ROWS]
    return "\n".join([header, *rows, ""])


def objects_of() -> list[dict[str, object]]:
    return [{"asin": item, "title": title, "categories": [kinds]} for item, title, kinds in ROWS]


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (csv_of().encode(), TableOptions()),
        (csv_of(mark=";").encode(), TableOptions()),
        (csv_of().encode("utf-16"), TableOptions()),
        (gzip.compress(csv_of().encode()), TableOptions()),
        (csv_of().replace(",", "\t").replace("Amélie\t", "Amélie,").encode(), TableOptions()),
        (csv_of("sku,text,kind").encode(), TableOptions(fields={"title": "text", "categories": "kind"})),
        (
            csv_of().split("\n", 1)[1].encode(),
            TableOptions(ReadOptions(columns=("id", "name", "genre"), item_column="id")),
        ),
        ("".join(f"{i}::{t or ''}::{'|'.join(c)}\n" for i, t, c in ROWS).encode(), TableOptions()),
        ("".join(json.dumps(each) + "\n" for each in objects_of()).encode(), TableOptions()),
        (json.dumps(objects_of()).encode(), TableOptions()),
    ],
    ids=["csv", "semicolons", "utf-16", "gzip", "tabs", "named", "no header", "movies.dat", "json lines", "json"],
)
def test_titles_and_categories_are_read_from_any_form(tmp_path: Path, data: bytes, options: TableOptions) -> None:
    path = tmp_path / "items"
    path.write_bytes(data)
    found = [
        (each["item_id"], each.get("title"), each.get("categories", []))
        for each in ItemTable(path, options, {}).items()
    ]
    assert found == ROWS


@pytest.mark.parametrize("ids", ["1.0,2.0", "1,2", " 1 , 2 "])
def test_ids_written_as_floats_are_those_of_the_events(tmp_path: Path, ids: str) -> None:
    first, second = ids.split(",")
    path = tmp_path / "items.parquet"
    pyarrow.parquet.write_table(pa.table({"item_id": [1.0, 2.0], "n": [1, 2]}), path)
    tables = [
        table(tmp_path / "items.csv", f"item_id,n\n{first},1\n{second},2\n"),
        ItemTable(path, TableOptions(), {}),
    ]
    assert [[item["item_id"] for item in each.items()] for each in tables] == [["1", "2"]] * 2


def test_id_that_looks_like_a_float_is_kept_among_others(tmp_path: Path) -> None:
    found = table(tmp_path / "items.csv", "item_id,n\n1.0,1\n1.5,2\n")
    assert [item["item_id"] for item in found.items()] == ["1.0", "1.5"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "--item-column"),
        ("item_id,title\n,x\n", "row 1 has no item id"),
        ("item_id,title\n1,2,3\n", ":2 has 3 fields instead of 2"),
        ('item_id,title\n1,"a\n2,b\n3,c\n4,d\n5,e"\n', "whole rows"),
        ("1::Heat::Action\n2::no genre\n", ":2 has 2 fields instead of 3"),
    ],
)
def test_table_that_is_not_understood_raises(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as refusal:
        list(table(tmp_path / "items.csv", text).items())
    assert "items.csv" in str(refusal.value)


def test_latin_1_is_refused_without_the_option(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_bytes("1::Amélie::Comedy\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"is not UTF-8.*--encoding"):
        ItemTable(tmp_path / "movies.dat", TableOptions(), {})


def test_empty_texts_are_values_in_json_and_missing_in_csv(tmp_path: Path) -> None:
    row = {"item_id": "a", "title": "", "categories": [" x", ""], "note": "", "tags": [], "text": " y "}
    [found] = table(tmp_path / "items.json", json.dumps(row)).items()
    attributes = {"note": "", "tags": [], "text": " y "}
    assert found == {"item_id": "a", "title": "", "categories": [" x", ""], "attributes": attributes}
    [found] = table(tmp_path / "items.csv", "item_id,title,categories,note\na,,,\n").items()
    assert found == {"item_id": "a"}
