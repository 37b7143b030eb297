"""Backfill by the real service, after a reload and a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import wait_for
from tests.end_to_end.service import RunningService
from tests.model.builders import bundle_of

USERS, ITEMS = 100, 40


def publish(folder: Path, version: str, seed: int) -> None:
    write_bundle(folder / version, bundle_of(ModelConfig(items=ITEMS, dim=8), seed=seed, version=version))


def finished_backfill(service: RunningService, version: str) -> dict[str, Any]:
    """Wait for the end of the backfill; return its last progress."""

    def found() -> dict[str, Any]:
        backfills = service.get("/admin/backfills")["backfills"]
        return next((each for each in backfills if each["model_version"] == version and not each["running"]), {})

    wait_for(f"the backfill of {version}", lambda: bool(found()), seconds=30)
    return found()


def assert_snapshots_are_current(service: RunningService, version: str, events: dict[str, int]) -> None:
    """Assert that every user has an exact snapshot of the whole log."""
    for user, count in events.items():
        audit = service.get(f"/users/{user}/audit")
        assert (audit["model_version"], audit["snapshot"], audit["applied"]) == (version, "found", count), user
        assert audit["max_relative_error"] <= 1e-5


def test_every_user_has_snapshot_after_reload_and_after_restart(tmp_path: Path, state_url: str) -> None:
    rng = np.random.default_rng(5)
    events = {f"u{user}": int(rng.integers(1, 30)) for user in range(USERS)}
    batch = [
        {"user_id": user, "item_id": f"i{rng.integers(1, ITEMS + 1)}"} for user, n in events.items() for _ in range(n)
    ]
    bundles = tmp_path / "bundles"
    publish(bundles, "v1", 1)
    with RunningService(tmp_path, state_url, bundles, RECBLR_BACKFILL_SHARE="1") as service:
        for start in range(0, len(batch), 1000):
            service.post("/events/batch", {"events": batch[start : start + 1000]})
        publish(bundles, "v2", 2)
        assert service.post("/admin/reload", {})["model_version"] == "v2"
        found = finished_backfill(service, "v2")
        assert (found["users"], found["fraction_done"]) == (USERS, 1.0)
        assert (found["snapshots"], found["events"]) == (USERS, len(batch))
        assert_snapshots_are_current(service, "v2", events)
        metrics = service.metrics()
        assert f"recblr_backfill_snapshots_total {float(USERS)}" in metrics
        assert "recblr_backfill_share 1.0" in metrics
    publish(bundles, "v3", 3)
    with RunningService(tmp_path, state_url, bundles, RECBLR_WORKERS="2") as service:
        assert service.post("/admin/reload", {})["model_version"] == "v3"
        finished_backfill(service, "v3")
        # Over both workers: one that loads the new model after the backfill has ended starts another without work.
        metrics = service.metrics()
        assert f"recblr_backfill_snapshots_total {float(USERS)}" in metrics
        assert f"recblr_backfill_events_total {float(len(batch))}" in metrics
        assert_snapshots_are_current(service, "v3", events)
    assert "backfill finished" in (tmp_path / "service.log").read_text()


def test_backfill_share_zero_runs_no_backfill(tmp_path: Path) -> None:
    publish(tmp_path / "bundles", "v1", 1)
    url = f"sqlite:///{tmp_path}/events.db"
    with RunningService(tmp_path, url, tmp_path / "bundles", RECBLR_BACKFILL_SHARE="0") as service:
        service.post("/events", {"user_id": "ann", "item_id": "i1"})
        assert service.get("/admin/backfills") == {"backfills": []}
