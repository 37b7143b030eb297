"""Retrain on the event log and serve the new model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from model.training.data.interactions import read_interactions
from tests.end_to_end.service import ROOT, RunningService
from tests.model.builders import bundle_of
from tests.model.training.pipelines.retrain_harness import file_contents

USERS, ITEMS, EVENTS = 12, 12, 16
HYPERPARAMETERS = (
    "--dim 8 --layers 1 --window 16 --batch 32 --evaluate-every 10 --patience 99 --warmup-steps 5 --device cpu"
)
LEARNS = "--epochs 60 --learning-rate 0.02"
LEARNS_NOTHING = "--epochs 1 --learning-rate 0.000001"


def retrain(folder: Path, state_url: str, more: str) -> tuple[int, dict[str, Any]]:
    """Run the retrain command; return its exit code and its result."""
    command = [sys.executable, "-m", "model.training", "retrain", "--state-url", state_url]
    command += [
        "--bundles",
        str(folder / "bundles"),
        "--work",
        str(folder / "work"),
        *HYPERPARAMETERS.split(),
        *more.split(),
    ]
    command += ["--min-events", "50", "--min-compared", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def circular_events(first: int, last: int) -> list[dict[str, Any]]:
    """Every user follows the same cycle of items, from a different start."""
    return [
        {"user_id": f"user {u}", "item_id": f"item {(u + n) % ITEMS}", "timestamp": 1_700_000_000 + 1000 * n + u}
        for n in range(first, last)
        for u in range(USERS)
    ]


def next_items_found(service: RunningService, events: int) -> int:
    """Count users whose first recommendation is the cycle's next item."""
    found = 0
    for u in range(USERS):
        answer = service.get(f"/users/user {u}/recommendations", k=1, exclude_seen="false")
        found += answer["items"][0]["item_id"] == f"item {(u + events) % ITEMS}"
    return found


def test_retrained_model_is_served_and_worse_one_is_not_published(tmp_path: Path, state_url: str) -> None:
    bundles = tmp_path / "bundles"
    old = bundle_of(ModelConfig(items=5), version="old", created="2000-01-01T00:00:00+00:00")
    write_bundle(bundles / "old", old)
    with RunningService(tmp_path, state_url, bundles) as service:
        results = service.post("/events/batch", {"events": circular_events(0, EVENTS)})["results"]
        assert [result["known_item"] for result in results] == [False] * len(results)
        service.post("/events", {"user_id": "gone", "item_id": "secret item"})
        service.delete("/users/gone")
        assert service.get("/model")["version"] == "old"
        assert next_items_found(service, EVENTS) == 0

        code, first = retrain(tmp_path, state_url, LEARNS)
        assert (code, first["published"], first["live_version"]) == (0, True, "old")
        assert first["log"] == {"events": USERS * EVENTS, "added": USERS * EVENTS, "reread": 0}
        assert first["live"]["ndcg@10"] == 0.0  # the old model knows none of these items
        assert list(read_interactions([tmp_path / "work" / "export"]).lengths) == [EVENTS] * USERS
        assert service.get("/model")["version"] == "old"  # until the reload

        answer = service.post("/admin/reload", {})
        assert answer == {"model_version": first["version"], "previous_version": "old"}
        assert service.get("/users/user 1/recommendations")["model_version"] == first["version"]
        assert next_items_found(service, EVENTS) >= USERS - 1

        service.post("/events/batch", {"events": circular_events(EVENTS, EVENTS + 4)})
        assert next_items_found(service, EVENTS + 4) >= USERS - 1  # new events take effect immediately
        before = file_contents(bundles)
        code, second = retrain(tmp_path, state_url, LEARNS_NOTHING)
        assert (code, second["published"], second["live_version"]) == (3, False, first["version"])
        assert second["log"]["added"] == 4 * USERS
        assert second["reason"].startswith("declined: on the 24 newest events the new model's NDCG@10 is ")
        assert file_contents(bundles) == before
        assert service.post("/admin/reload", {})["model_version"] == first["version"]
