"""Rollouts in two workers: watch, rollback, A/B test, restart during a test."""

from __future__ import annotations

from pathlib import Path

import httpx

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import wait_for
from tests.end_to_end.service import KEY, RunningService
from tests.model.builders import bundle_of

USERS = [f"user {n}" for n in range(40)]


def publish(bundles: Path, version: str, created: str) -> None:
    config = ModelConfig(items=20, dim=8, layers=1)
    write_bundle(bundles / version, bundle_of(config, seed=ord(version), version=version, created=created))


def versions(service: RunningService) -> set[str]:
    """Return the live versions of the workers.

    Each call uses a new connection, which either worker may accept.
    """
    headers = {"x-api-key": KEY, "connection": "close"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
        return {client.get("/v1/model").json()["version"] for _ in range(12)}


def answered_by(service: RunningService) -> dict[str, str]:
    """Return the version that answers each user.

    Assert that several connections, and so both workers, give the same one.
    """
    found: dict[str, set[str]] = {user: set() for user in USERS}
    for _ in range(4):
        with httpx.Client(base_url=service.url, headers={"x-api-key": KEY}, timeout=30) as client:
            for user in USERS:
                event = {"user_id": user, "item_id": "i3"}
                answer = client.post("/v1/events", params={"k": 1}, json=event).json()["recommendations"]
                found[user].add(answer["model_version"])
    assert {len(each) for each in found.values()} == {1}
    return {user: each.pop() for user, each in found.items()}


def test_two_workers_follow_publish_rollback_ab_test_and_restart(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    publish(bundles, "a", "2026-01-01")
    settings = {"RECBLR_WORKERS": "2", "RECBLR_WATCH": "true"}
    url = f"sqlite:///{tmp_path}/log.db"
    with RunningService(tmp_path, url, bundles, **settings) as service:
        assert versions(service) == {"a"}
        publish(bundles, "b", "2026-02-01")
        wait_for("the switch to the published version", lambda: versions(service) == {"b"})
        assert service.post("/admin/reload", {"version": "a"}) == {"model_version": "a", "previous_version": "b"}
        assert set(answered_by(service).values()) == {"a"}
        service.post("/admin/test", {"version": "b", "share": 0.5})
        split = answered_by(service)
        assert set(split.values()) == {"a", "b"}
        model = service.get("/model")
        assert (model["version"], model["test"]["version"], model["test"]["share"]) == ("a", "b", 0.5)
    with RunningService(tmp_path, url, bundles, **settings) as service:
        assert answered_by(service) == split
        for user, version in split.items():
            audit = service.get(f"/users/{user}/audit")
            assert audit["model_version"] == version
            assert audit["max_relative_error"] <= 1e-5
        service.post("/admin/test/end", {"winner": "b"})
        assert set(answered_by(service).values()) == {"b"}
        assert service.get("/model")["test"] is None
