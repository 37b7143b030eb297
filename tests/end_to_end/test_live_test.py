"""A/B tests that decide by live accuracy, on a real service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.errors import DataError
from model.bundle.bundle import load_bundle, new_version, write_bundle
from model.training.live_test.live_test import LiveTestJob, run_live_test
from model.training.live_test.sequential_test import SequentialTest
from model.training.publishing.registry import newest_bundle, publish
from service.demo import BUNDLE
from tests.end_to_end.service import KEY, RunningService

TRIPS = ("camping", "hiking", "climbing", "cycling", "winter", "water", "running", "fishing")


def write_models(registry: Path, scratch: Path) -> tuple[str, str]:
    """Write the demo's model, and one of noise; return their versions."""
    good = load_bundle(BUNDLE)
    rng = np.random.default_rng(0)
    noise = {
        name: value if "norm" in name else rng.permutation(value.ravel()).reshape(value.shape).astype(np.float32)
        for name, value in good.weights.items()
    }
    noise["item_embedding.weight"][1:] = rng.standard_normal(noise["item_embedding.weight"][1:].shape)
    write_bundle(registry / good.version, good)
    created = "2099-01-01T00:00:00+00:00"
    version = new_version(noise, np.datetime64("2099-01-01T00:00:00").item())
    write_bundle(scratch / "bad", replace(good, version=version, created=created, weights=noise))
    return good.version, publish(registry, scratch / "bad").version


def send_purchases(service: RunningService, first: int, users: int) -> None:
    """Let users equip themselves for a trip each."""
    for user in range(first, first + users):
        trip = TRIPS[user % len(TRIPS)]
        for number in range(1, 9):
            service.post("/events?k=1", {"user_id": f"u{user}", "item_id": f"{trip}-{number}"})


def run_with_traffic(service: RunningService, job: LiveTestJob, version: str) -> dict[str, Any]:
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run_live_test, job, version)
        first = 0
        while not running.done():
            send_purchases(service, first, 20)
            first += 20
        return running.result()


def test_bad_version_is_withdrawn_and_never_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECBLR_API_KEY", KEY)
    registry = tmp_path / "bundles"
    write_models(registry, tmp_path)
    good, bad = load_bundle(BUNDLE).version, next(path.name for path in registry.iterdir() if "2099" in path.name)
    state = f"sqlite:///{tmp_path}/events.db"
    with RunningService(tmp_path, state, registry, RECBLR_ACCURACY_SAMPLE="1") as service:
        assert service.post("/admin/reload", {"version": good})["model_version"] == good
        test = SequentialTest(min_events=100, expected_difference=0.2)
        job = LiveTestJob(service.url, registry, 0.5, 0.1, test, poll_seconds=0.2)
        result = run_with_traffic(service, job, bad)
        assert (result["outcome"], result["decision"]) == ("withdrawn", "worse")
        assert result["candidate"]["hr@10"] < result["live"]["hr@10"]
        assert service.get("/model")["version"] == good
        assert service.get("/model")["test"] is None
        # Neither the newest version nor the version by its name is the bad one any more.
        assert service.post("/admin/reload", {})["model_version"] == good
        newest = newest_bundle(registry)
        assert newest is not None
        assert newest.name == good
        with pytest.raises(DataError, match="was withdrawn"):
            publish(registry, tmp_path / "bad")
        again = replace(load_bundle(tmp_path / "bad"), version=f"20990102T000000Z-{bad.rpartition('-')[2]}")
        write_bundle(tmp_path / "again", again)  # the same weights, trained another night
        with pytest.raises(DataError, match="was withdrawn"):
            publish(registry, tmp_path / "again")


def test_good_version_is_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECBLR_API_KEY", KEY)
    registry = tmp_path / "bundles"
    good, bad = write_models(registry, tmp_path)
    state = f"sqlite:///{tmp_path}/events.db"
    with RunningService(tmp_path, state, registry, RECBLR_ACCURACY_SAMPLE="1") as service:
        assert service.get("/model")["version"] == bad
        test = SequentialTest(min_events=100, expected_difference=0.2)
        result = run_with_traffic(service, LiveTestJob(service.url, registry, 0.5, 0.1, test, 0.2), good)
        assert (result["outcome"], result["decision"]) == ("promoted", "better")
        assert service.get("/model")["version"] == good
        assert sorted(path.name for path in registry.iterdir()) == sorted([good, bad])
