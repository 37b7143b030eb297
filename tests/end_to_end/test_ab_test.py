"""A/B tests that decide by live accuracy, on a real service."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.errors import DataError
from model.bundle.bundle import load_bundle, new_version, write_bundle
from model.training.ab_test.ab_test_record import AbTestRecord
from model.training.publishing.registry import newest_bundle, publish
from service.demo import BUNDLE
from tests.end_to_end.service import KEY, ROOT, RunningService

TRIPS = ("camping", "hiking", "climbing", "cycling", "winter", "water", "running", "fishing")


def write_noise(folder: Path) -> str:
    """Write a bundle with noise as weights; return its version."""
    good = load_bundle(BUNDLE)
    rng = np.random.default_rng(0)
    noise = {
        name: value if "norm" in name else rng.permutation(value.ravel()).reshape(value.shape).astype(np.float32)
        for name, value in good.weights.items()
    }
    noise["item_embedding.weight"][1:] = rng.standard_normal(noise["item_embedding.weight"][1:].shape)
    created = "2099-01-01T00:00:00+00:00"
    version = new_version(noise, np.datetime64("2099-01-01T00:00:00").item())
    write_bundle(folder, replace(good, version=version, created=created, weights=noise))
    return version


def send_purchases(service: RunningService, first: int, users: int) -> None:
    """Let users equip themselves for a trip each."""
    for user in range(first, first + users):
        trip = TRIPS[user % len(TRIPS)]
        for number in range(1, 9):
            service.post("/events?k=1", {"user_id": f"u{user}", "item_id": f"{trip}-{number}"})


def finish_ab_test(service: RunningService, folder: Path, *, traffic: bool) -> tuple[int, dict[str, Any]]:
    """Run the job that finishes an A/B test.

    Without traffic it is killed as soon as the test has begun.
    """
    command = [
        sys.executable,
        "-m",
        "model.training",
        "retrain",
        "--finish-ab-test",
        "--state-url",
        "sqlite:///none",
    ]
    command += ["--bundles", str(folder / "bundles"), "--work", str(folder / "work"), "--ab-poll-seconds", "0.1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as job:
        first = 0
        while job.poll() is None:
            if traffic:
                send_purchases(service, first, 20)
                first += 20
            elif service.get("/model")["test"] is not None:
                job.kill()
            time.sleep(0.05)
        printed = job.stdout.read() if job.stdout else ""
    return job.returncode, json.loads(printed) if printed else {}


def test_bad_version_is_withdrawn_although_the_job_was_killed_and_the_service_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECBLR_API_KEY", KEY)
    registry = tmp_path / "bundles"
    good = publish(registry, BUNDLE).version
    bad = write_noise(tmp_path / "bad")
    state = f"sqlite:///{tmp_path}/events.db"
    with RunningService(tmp_path, state, registry, RECBLR_ACCURACY_SAMPLE="1", RECBLR_WATCH="true") as service:
        publish(registry, tmp_path / "bad", AbTestRecord(service.url, 0.5, 0.1, 0.05).to_json())
        assert finish_ab_test(service, tmp_path, traffic=False)[0] == -signal.SIGKILL
        assert (service.get("/model")["version"], service.get("/model")["test"]["version"]) == (good, bad)
        code, result = finish_ab_test(service, tmp_path, traffic=True)
        assert (code, result["published"], result["ab_test"]["outcome"]) == (3, False, "withdrawn")
        assert result["ab_test"]["candidate"]["hr@10"] < result["ab_test"]["live"]["hr@10"]
        assert (service.get("/model")["version"], service.get("/model")["test"]) == (good, None)
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
        assert finish_ab_test(service, tmp_path, traffic=False) == (0, {})


def test_good_version_is_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECBLR_API_KEY", KEY)
    registry = tmp_path / "bundles"
    bad = write_noise(tmp_path / "bad")
    publish(registry, tmp_path / "bad")
    state = f"sqlite:///{tmp_path}/events.db"
    with RunningService(tmp_path, state, registry, RECBLR_ACCURACY_SAMPLE="1", RECBLR_WATCH="true") as service:
        good = publish(registry, BUNDLE, AbTestRecord(service.url, 0.5, 0.1, 0.05).to_json()).version
        assert service.get("/model")["version"] == bad
        code, result = finish_ab_test(service, tmp_path, traffic=True)
        assert (code, result["ab_test"]["decision"]) == (0, "better")
        assert service.get("/model")["version"] == good
        assert sorted(path.name for path in registry.iterdir()) == sorted([good, bad])
