"""Tables of items become items of the service, with types."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet
import pytest

from ingest.catalogue.item_loader import ItemLoader, ItemTable
from ingest.catalogue.item_rows import TableOptions
from ingest.errors import DataError
from ingest.loading.batch_client import BatchClient
from ingest.loading.progress_file import ProgressFile
from ingest.read_options import ReadOptions

CSV = """sku,title,genre,in_stock,price,ean,new,tags,until,note
1,Shoe,winter;shoes,true,49.90,0123,true,a|b,2026-12-24T18:00:00+01:00,12
2,"Boot, high",,false,5,0456,FALSE,,2026-12-24,x
3,,shoes,,,,,c,,
"""
OPTIONS = TableOptions(times=frozenset({"until"}), sets=frozenset({"tags"}))


def table(path: Path, content: str, options: TableOptions = OPTIONS, **declared: str) -> ItemTable:
    path.write_text(content)
    return ItemTable(path, options, declared)


def test_types_of_a_text_table_follow_from_all_values(tmp_path: Path) -> None:
    found = table(tmp_path / "items.csv", CSV)
    assert found.count == 3
    assert found.types == {
        "price": "number",
        "ean": "string",
        "new": "bool",
        "tags": "strings",
        "until": "time",
        "note": "string",
    }
    first, second, third = found.items()
    assert first == {
        "item_id": "1",
        "title": "Shoe",
        "categories": ["winter", "shoes"],
        "available": True,
        "attributes": {
            "price": 49.9,
            "ean": "0123",
            "new": True,
            "tags": ["a", "b"],
            "until": "2026-12-24T18:00:00+01:00",
            "note": "12",
        },
    }
    assert second["title"] == "Boot, high" and "categories" not in second and second["available"] is False
    assert second["attributes"]["until"] == "2026-12-24T00:00:00+00:00"
    assert third == {"item_id": "3", "categories": ["shoes"], "attributes": {"tags": ["c"]}}


def test_declared_type_counts_before_the_values(tmp_path: Path) -> None:
    found = table(tmp_path / "items.csv", "sku,size\n1,42\n2,43\n", size="string")
    assert [item["attributes"] for item in found.items()] == [{"size": "42"}, {"size": "43"}]


def test_columns_are_mapped(tmp_path: Path) -> None:
    options = TableOptions(
        fields={"item": "code", "title": "what"},
        names={"Preis (EUR)": "price"},
        left_out=frozenset({"secret"}),
    )
    found = table(tmp_path / "items.csv", "code;what;Preis (EUR);secret;2nd name\na;A;5;x;y\n", options)
    assert list(found.items()) == [{"item_id": "a", "title": "A", "attributes": {"price": 5.0, "_2nd_name": "y"}}]


def test_movielens_file_needs_no_options(tmp_path: Path) -> None:
    path = tmp_path / "movies.dat"
    path.write_bytes("1::Amélie (2001)::Comedy|Romance\n2::Heat (1995)::Action\n".encode("latin-1"))
    found = ItemTable(path, TableOptions(ReadOptions(encoding="latin-1")), {})
    assert list(found.items()) == [
        {"item_id": "1", "title": "Amélie (2001)", "categories": ["Comedy", "Romance"]},
        {"item_id": "2", "title": "Heat (1995)", "categories": ["Action"]},
    ]


@pytest.mark.parametrize("array", [False, True])
def test_json_keeps_its_types(tmp_path: Path, array: bool) -> None:
    rows = [
        {
            "item_id": 7,
            "title": "A",
            "price": 5,
            "new": False,
            "labels": ["x", "y"],
            "code": "007",
            "vector": [1, 2.5],
        },
        {"item_id": "8", "attributes": {"price": 1.5}, "available": False, "title": None},
    ]
    text = json.dumps(rows) if array else "\n".join(map(json.dumps, rows))
    found = table(tmp_path / "items.json", text)
    assert found.types == {"price": "number", "new": "bool", "labels": "strings", "code": "string"}
    assert list(found.items()) == [
        {
            "item_id": "7",
            "title": "A",
            "vector": [1, 2.5],
            "attributes": {"price": 5, "new": False, "labels": ["x", "y"], "code": "007"},
        },
        {"item_id": "8", "available": False, "attributes": {"price": 1.5}},
    ]


def test_parquet_has_times_without_being_told(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    times = pa.array([datetime(2026, 1, 2, tzinfo=UTC), None], pa.timestamp("us", tz="UTC"))
    columns = {"item_id": [1, 2], "until": times, "labels": [["a"], None], "weight": [0.5, 1.0]}
    pyarrow.parquet.write_table(pa.table(columns), path)
    found = ItemTable(path, TableOptions(), {})
    assert found.types == {"until": "time", "labels": "strings", "weight": "number"}
    first, second = found.items()
    assert first["attributes"] == {"until": "2026-01-02T00:00:00+00:00", "labels": ["a"], "weight": 0.5}
    assert second == {"item_id": "2", "attributes": {"weight": 1.0}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("price\n5\n", "no column for the item"),
        ("sku,price\n", "holds no items"),
        ("sku,in_stock\n1,perhaps\n", "row 1: 'in_stock' holds 'perhaps'"),
        ("sku,price\n,5\n", "row 1 has no item id"),
        ("sku,a b,a-b\n1,2,3\n", "two columns have the same attribute's name"),
        ('{"sku": 1, "x": 1}\n{"sku": 2, "x": "a"}\n', "'x' have several types"),
        ('{"sku": 1}\n{"sku"\n', "is not valid JSON"),
    ],
)
def test_table_that_is_not_understood_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(table(tmp_path / "items.txt", content).items())


class Service:
    """The routes that the loader uses."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}
        self.types: dict[str, str] = {}
        self.batches: list[int] = []
        self.fail_at = -1

    def answer(self, request: httpx.Request) -> httpx.Response:
        path, method = request.url.path, request.method
        body = json.loads(request.content) if request.content else None
        if path == "/v1/attributes":
            named = [{"name": name, "type": kind} for name, kind in self.types.items()]
            return httpx.Response(200, json={"attributes": named})
        if path.startswith("/v1/attributes/"):
            self.types[path.rpartition("/")[2]] = body["type"]
            return httpx.Response(200, json={})
        if path == "/v1/items/batch":
            if len(self.batches) == self.fail_at:
                return httpx.Response(401, text="no")
            self.batches.append(len(body["items"]))
            return httpx.Response(200, json={"results": [self._put(item) for item in body["items"]]})
        if method == "DELETE":
            del self.items[request.url.params["item_id"]]
            return httpx.Response(200, json={})
        begin = request.url.params["cursor"]
        ids = sorted(item_id for item_id in self.items if item_id > begin)[:700]
        return httpx.Response(
            200,
            json={"items": [{"item_id": each} for each in ids], "next_cursor": ids[-1] if len(ids) == 700 else None},
        )

    def _put(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["item_id"] == "bad":
            return {
                "error": {"code": "invalid_request", "message": "no", "details": [{"field": "x", "problem": "y"}]}
            }
        changed = self.items.get(item["item_id"]) != item
        self.items[item["item_id"]] = item
        return {"item_id": item["item_id"], "changed": changed}


@pytest.fixture
def service() -> Service:
    return Service()


def loader(service: Service) -> ItemLoader:
    transport = httpx.MockTransport(service.answer)
    return ItemLoader(BatchClient(httpx.Client(base_url="http://s", transport=transport), 0.0), lambda done: None)


def progress(tmp_path: Path) -> ProgressFile:
    return ProgressFile(tmp_path / "progress.json", {"source": "s", "url": "u"})


def test_load_declares_puts_and_resumes(tmp_path: Path, service: Service) -> None:
    rows = "".join(f"i{n},{n}\n" for n in range(2500))
    found = table(tmp_path / "items.csv", "sku,price\n" + rows)
    service.fail_at = 1
    with pytest.raises(DataError, match="401"):
        loader(service).load(found, {}, progress(tmp_path))
    assert service.types == {"price": "number"} and len(service.items) == 1000
    service.fail_at = -1
    result = loader(service).load(found, service.types, progress(tmp_path))
    assert (result.resumed, result.sent, result.changed, result.refused) == (1000, 1500, 1500, 0)
    assert service.batches == [1000, 1000, 500]
    again = loader(service).load(found, service.types, progress(tmp_path))
    assert (again.resumed, again.sent, again.changed) == (0, 2500, 0)


def test_large_items_make_small_batches(tmp_path: Path, service: Service) -> None:
    rows = "".join(f"i{n},{'x' * 9000}\n" for n in range(1000))
    loader(service).load(table(tmp_path / "items.csv", "sku,text\n" + rows), {}, progress(tmp_path))
    assert len(service.items) == 1000 and max(service.batches) < 360


def test_refused_item_is_counted_with_its_reason(tmp_path: Path, service: Service) -> None:
    found = table(tmp_path / "items.csv", "sku,price\na,1\nbad,2\n")
    result = loader(service).load(found, {}, progress(tmp_path))
    assert (result.sent, result.refused, result.first_refusal) == (1, 1, "no: x y")


def test_prune_deletes_what_the_table_lacks_up_to_a_share(tmp_path: Path, service: Service) -> None:
    service.items = {f"i{n}": {} for n in range(1600)}
    found = table(tmp_path / "items.csv", "sku,price\n" + "".join(f"i{n},{n}\n" for n in range(1000)))
    with pytest.raises(DataError, match="600 of 1,600 items are not in the file; nothing was deleted"):
        loader(service).prune(found, 0.3)
    assert len(service.items) == 1600
    assert loader(service).prune(found, 0.5) == 600
    assert len(service.items) == 1000
