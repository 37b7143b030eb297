"""Write the catalogue of a running service into a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from ingest.catalogue.column_kinds import BOOL, NUMBER, STRINGS, TIME
from ingest.catalogue.item_rows import TYPES_KEY
from ingest.errors import DataError
from ingest.loading.batch_client import BatchClient

_PAGE_ITEMS = 1000
_PAGE_VECTORS = 100  # items of a page with vectors
_ARROW_TYPES = {
    BOOL: pa.bool_(),
    NUMBER: pa.float64(),
    STRINGS: pa.list_(pa.string()),
    TIME: pa.timestamp("us", tz="UTC"),
}


def export_items(client: BatchClient, path: Path, *, with_vectors: bool = True) -> int:
    """Write all items; return their number.

    Loading the file gives the same catalogue. The ending of its name decides on its form: .jsonl or .parquet.

    Raises:
        DataError: the service does not answer, or the form is another one.
    """
    declared = client.request("GET", "/v1/attributes")
    types = {each["name"]: each["type"] for each in declared["attributes"]}
    with_vectors = with_vectors and declared["vector_length"] is not None
    part = path.with_name(path.name + ".part")
    if path.suffix == ".jsonl":
        count = _write_lines(part, types, _pages(client, with_vectors))
    elif path.suffix == ".parquet":
        count = _write_parquet(part, types, _pages(client, with_vectors), with_vectors)
    else:
        raise DataError(f"name the file .jsonl or .parquet, not {path.name}")
    part.replace(path)
    return count


def _pages(client: BatchClient, with_vectors: bool) -> Iterator[list[dict[str, Any]]]:
    query = {"limit": _PAGE_VECTORS, "vectors": "true"} if with_vectors else {"limit": _PAGE_ITEMS}
    cursor: str | None = ""
    while cursor is not None:
        page = client.request("GET", "/v1/items", query={**query, "cursor": cursor})
        yield page["items"]
        cursor = page["next_cursor"]


def _write_lines(path: Path, types: dict[str, str], pages: Iterator[list[dict[str, Any]]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({TYPES_KEY: types}) + "\n")
        for items in pages:
            file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
            count += len(items)
    return count


def _write_parquet(
    path: Path, types: dict[str, str], pages: Iterator[list[dict[str, Any]]], with_vectors: bool
) -> int:
    fields = [("item_id", pa.string()), ("title", pa.string()), ("categories", pa.list_(pa.string()))]
    fields += [("available", pa.bool_()), *([("vector", pa.list_(pa.float32()))] if with_vectors else ())]
    schema = pa.schema([*fields, *((name, _ARROW_TYPES.get(kind, pa.string())) for name, kind in types.items())])
    count = 0
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for items in pages:
            writer.write_table(pa.Table.from_pylist([_row(item, types) for item in items], schema))
            count += len(items)
    return count


def _row(item: dict[str, Any], types: dict[str, str]) -> dict[str, Any]:
    row = {name: value for name, value in item.items() if name != "attributes"}
    for name, value in item["attributes"].items():
        row[name] = datetime.fromisoformat(value) if types.get(name) == TIME else value
    return row
