"""Changes of the catalogue reach every worker, and survive kill -9."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

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
