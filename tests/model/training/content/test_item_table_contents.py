"""Content from tables of items."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from ingest.catalogue.item_rows import TableOptions
from ingest.errors import DataError
from model.training.content.item_table_contents import read_item_contents


def test_jsonl_gives_typed_values(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    lines = [
        {"item_id": "a", "title": "T", "categories": ["x"], "attributes": {"price": 2, "new": True, "tags": ["p"]}},
        {"item_id": "b", "vector": [1, 2.5]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = read_item_contents(path)
    assert found["a"].title == "T"
    assert found["a"].categories == ("x",)
    assert found["a"].attributes == {"price": 2, "new": True, "tags": ["p"]}
    assert found["b"].vector is not None
    assert found["b"].vector.tolist() == [1.0, 2.5]


def test_csv_gives_numbers_and_times(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item_id,price,released\na,2.5,2026-01-02\nb,,\nc,1,yesterday\n")
    found = read_item_contents(path, TableOptions(times=frozenset(["released"])))
    assert found["a"].attributes == {"price": 2.5, "released": datetime(2026, 1, 2, tzinfo=UTC)}
    assert found["b"].attributes == {}
    assert found["c"].attributes["released"] == "yesterday"


def test_parquet_gives_vectors(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    table = pa.table({"item_id": ["a", "b"], "embedding": [[1.0, 2.0], None], "price": [3, None]})
    pyarrow.parquet.write_table(table, path)
    found = read_item_contents(path, TableOptions(vector="embedding"))
    np.testing.assert_array_equal(found["a"].vector, [1.0, 2.0])
    assert found["b"].vector is None


def test_recbole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ml.item"
    path.write_text("item_id:token\tmovie_title:token_seq\trelease_year:token\n1\tToy Story\t1995\n")
    assert read_item_contents(path)["1"].title == "Toy Story"


def test_vector_of_texts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"item_id": "a", "vector": ["x", "y"]}')
    with pytest.raises(DataError, match="vector of item 'a'"):
        read_item_contents(path)
