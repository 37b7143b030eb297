"""`recblr-items` against the real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import KEY, ROOT, RunningService
from tests.model.builders import bundle_of

ROWS = "".join(
    f"i{n:04};Item {n};{n / 4};{'true' if n % 2 else 'false'};2026-12-24T18:00:00+01:00\n" for n in range(1200)
)
CSV = "sku;title;price;new;until\n" + ROWS


def items(*arguments: str | Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingest.catalogue.command", *map(str, arguments), "--url", url, "--give-up", "5"]
    environment = os.environ | {"RECBLR_API_KEY": KEY}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def result_of(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def await_items(service: RunningService, count: int) -> None:
    """Wait until the service lists as many items."""
    deadline = time.monotonic() + 20
    while True:
        found = httpx.get(f"{service.url}/v1/items", params={"limit": 1000}, headers={"x-api-key": KEY}).json()
        if found["next_cursor"] is not None or len(found["items"]) == count:
            return
        assert time.monotonic() < deadline, len(found["items"])
        time.sleep(0.05)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_catalogue_is_loaded_exported_and_loaded_again(tmp_path: Path, ending: str) -> None:
    write_bundle(tmp_path / "v1", bundle_of(ModelConfig(items=20, dim=8)))
    (tmp_path / "items.csv").write_text(CSV)
    with RunningService(tmp_path, f"sqlite:///{tmp_path}/log.db", tmp_path / "v1") as service:
        options = ("load", tmp_path / "items.csv", "--time-column", "until")
        first = items(*options, url=service.url)
        assert result_of(first) == {"sent": 1200, "changed": 1200, "resumed": 0, "refused": 0, "pruned": 0}
        assert "1,200 items; attributes: price number, new bool, until time" in first.stderr
        assert result_of(items(*options, url=service.url))["changed"] == 0
        await_items(service, 1200)
        exported = tmp_path / f"export.{ending}"
        assert result_of(items("export", exported, url=service.url)) == {"exported": 1200}
        (tmp_path / "items.csv").write_text("\n".join(CSV.splitlines()[:1001]))
        assert result_of(items(*options, "--prune", url=service.url))["pruned"] == 200
        await_items(service, 1000)
        again = result_of(items("load", exported, url=service.url))
        assert (again["sent"], again["changed"]) == (1200, 200)


ODD: list[dict[str, Any]] = [
    {"item_id": "1", "title": "", "categories": [" a|b", ""], "attributes": {"name": "", "sizes": [], "new": True}},
    {
        "item_id": "2",
        "available": False,
        "vector": [0.1, -2.5e-30, 3.0],
        "attributes": {"genre": "x|y", "price": 0.1},
    },
    {"item_id": "ü/1", "title": '東京 \'n\n"q"', "attributes": {"until": "2026-12-24T17:00:00.000001Z", "id": "007"}},
]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_loaded_export_gives_the_same_catalogue(tmp_path: Path, ending: str) -> None:
    write_bundle(tmp_path / "v1", bundle_of(ModelConfig(items=20, dim=8)))
    found = []
    for number in (1, 2):
        with RunningService(tmp_path, f"sqlite:///{tmp_path}/log{number}.db", tmp_path / "v1") as service:
            if number == 1:
                service.put("/attributes/until", {"type": "time"})
                answer = service.post("/items/batch", {"items": ODD})
                assert [result["changed"] for result in answer["results"]] == [True] * 3
                await_items(service, 3)
                assert result_of(items("export", tmp_path / f"all.{ending}", url=service.url)) == {"exported": 3}
                bare = tmp_path / f"bare.{ending}"
                assert result_of(items("export", bare, "--without-vectors", url=service.url)) == {"exported": 3}
                assert (tmp_path / f"all.{ending}").read_bytes() != bare.read_bytes()
            else:
                assert result_of(items("load", tmp_path / f"all.{ending}", url=service.url))["changed"] == 3
                await_items(service, 3)
            query = {"vectors": "true", "limit": 100}
            listed = httpx.get(f"{service.url}/v1/items", params=query, headers={"x-api-key": KEY}).json()["items"]
            declared = httpx.get(f"{service.url}/v1/attributes", headers={"x-api-key": KEY}).json()
            found.append((listed, declared))
    assert found[0] == found[1]
    assert found[0][0][1]["vector"] == [0.1, -2.5e-30, 3.0]
    assert found[0][0][0]["attributes"] == {"name": "", "new": True, "sizes": []}


def test_wrong_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    found = items("export", tmp_path / "items.csv", url="http://127.0.0.1:9")
    assert found.returncode == 2 and found.stderr.count("\n") == 1
