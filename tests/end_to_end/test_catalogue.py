"""Changes of the catalogue reach every worker, and survive kill -9."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import ItemWrite
from service.core.jobs.catalogue_upkeep import MIN_ITEMS
from service.store.factory import open_store
from tests.deployments import wait_for
from tests.end_to_end.service import KEY, ROOT, RunningService

BUNDLE = ROOT / "bundles" / "ml-1m-demo"
CONNECTIONS = 16  # that all of them lead to one worker is unlikely


def pages(service: RunningService) -> list[dict[str, Any]]:
    """The list of items over several connections, so from every worker."""
    found = []
    for _ in range(CONNECTIONS):
        answer = httpx.get(f"{service.url}/v1/items", headers={"x-api-key": KEY})
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
    return found


def prices(service: RunningService) -> set[str]:
    """The items' prices, in each version that a worker has."""
    values = [{item["item_id"]: item["attributes"] for item in page["items"]} for page in pages(service)]
    return {json.dumps(value, sort_keys=True) for value in values}


def test_change_reaches_all_workers_and_is_there_after_kill_9(tmp_path: Path) -> None:
    with RunningService(tmp_path, f"sqlite:///{tmp_path}/log.db", BUNDLE, RECBLR_WORKERS="2") as service:
        expected = {}
        for round_number in range(5):
            for item_id in ("a", "b", "c"):
                price = round_number + 0.5
                service.put(f"/items/{item_id}", {"attributes": {"price": price}})
                expected[item_id] = {"price": price}
            text = json.dumps(expected, sort_keys=True)
            wait_for("all workers to have the change", lambda text=text: prices(service) == {text}, 30)
        service.delete("/items/b")
        del expected["b"]
        service.kill()
        service.start()
        # A worker is ready with the newest revision, so there is nothing to wait for.
        assert prices(service) == {json.dumps(expected, sort_keys=True)}
        assert len({page["catalogue_revision"] for page in pages(service)}) == 1
        assert "recblr_catalogue_items 2.0" in service.metrics()


def test_processes_on_one_file_follow_within_a_second(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        RunningService(tmp_path / "one", url, BUNDLE) as one,
        RunningService(tmp_path / "two", url, BUNDLE) as two,
    ):
        delays = []
        for number in range(15):
            changed, unchanged = (one, two) if number % 2 else (two, one)
            changed.put("/items/a", {"title": f"title {number}"})
            acknowledged = time.monotonic()
            wait_for(
                "the other process to have the change",
                lambda unchanged=unchanged, number=number: titles(unchanged) == [f"title {number}"],
                30,
            )
            delays.append(time.monotonic() - acknowledged)
        assert median(delays) < 1.0


def titles(service: RunningService) -> list[str]:
    return [item["title"] for item in service.get("/items")["items"]]


async def put_many(url: str, count: int) -> None:
    """Put items without a service."""
    store = await open_store(url, 100)
    record = to_record(Item("", "title", available=False))
    for start in range(0, count, 10_000):
        writes = [ItemWrite(f"many-{number}", record) for number in range(start, min(start + 10_000, count))]
        await store.catalogue.write_items(writes)
    await store.close()


def test_workers_start_from_the_snapshot_with_every_change_since(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    asyncio.run(put_many(url, MIN_ITEMS))
    with RunningService(tmp_path, url, BUNDLE, RECBLR_WORKERS="2") as service:
        wait_for("the snapshot", (tmp_path / "log.db-catalogue").exists, 60)
        service.put("/items/0", {"title": "put after the snapshot"})
        service.put("/items/many-7", {"title": "changed after the snapshot"})
        service.kill()
        service.start()
        wait_for(
            "both workers to start from the snapshot",
            lambda: service.log().count("catalogue's snapshot is loaded") == 2,
            60,
        )
        found = service.get("/items", filter="title LIKE '%after the snapshot'")["items"]
        assert [item["item_id"] for item in found] == ["0", "many-7"]
        assert f"recblr_catalogue_items {MIN_ITEMS + 1}.0" in service.metrics()
