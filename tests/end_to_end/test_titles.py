"""Titles of the catalogue, and those that older releases wrote into bundles."""

from __future__ import annotations

import json
from pathlib import Path

from model.bundle.bundle import ITEMS, write_bundle
from model.config import ModelConfig
from tests.deployments import wait_for
from tests.end_to_end.service import RunningService
from tests.model.builders import bundle_of
from tests.model.bundle.damage import reseal


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
