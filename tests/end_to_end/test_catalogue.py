"""Changes of the catalogue reach every worker, and survive kill -9."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from model.bundle.bundle import ITEMS, write_bundle
from model.config import ModelConfig
from tests.deployments import wait_for
from tests.end_to_end.service import KEY, ROOT, RunningService
from tests.model.builders import bundle_of
from tests.model.bundle.damage import reseal

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


def test_titles_survive_a_new_model_and_those_of_an_old_bundle_are_ignored(tmp_path: Path) -> None:
    config, registry = ModelConfig(items=20, dim=8), tmp_path / "models"
    write_bundle(registry / "v1", bundle_of(config, version="v1"))
    write_bundle(registry / "v2", bundle_of(config, seed=1, version="v2", created="2026-02-01"))
    add_titles(registry / "v2")
    with RunningService(tmp_path, f"sqlite:///{tmp_path}/log.db", registry) as service:
        service.post("/admin/reload", {"version": "v1"})
        service.put("/items/i3", {"title": "Größe", "categories": ["shoes"]})
        titled = {"i3": ("Größe", ["shoes"])}
        wait_for("the title", lambda: titles(service) == ("v1", titled), 20.0)
        service.post("/admin/reload", {"version": "v2"})
        assert titles(service) == ("v2", titled)


def add_titles(bundle: Path) -> None:
    """Write titles into a bundle, as older releases did."""
    rows = [json.loads(line) for line in (bundle / ITEMS).read_text().splitlines()]
    old = [{**row, "title": f"Old title {number}", "categories": ["old"]} for number, row in enumerate(rows)]
    (bundle / ITEMS).write_text("".join(json.dumps(row) + "\n" for row in old))
    reseal(bundle)


def titles(service: RunningService) -> tuple[str, dict[str, tuple[str, list[str]]]]:
    """The version that answers, and the titles and categories in its answer."""
    answer = service.post("/recommendations", {"history": ["i1"], "k": 20, "exclude_seen": False})
    items = {item["item_id"]: (item["title"], item["categories"]) for item in answer["items"] if len(item) > 2}
    return answer["model_version"], items
