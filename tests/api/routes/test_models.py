"""Routes about models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.core.errors import RolloutRefused
from service.core.ports import Engine
from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY
from tests.core.fakes import FakeEngine, FakeModels

BEARER = {"authorization": f"Bearer {KEY}"}


def test_model_route_returns_version_and_config(harness: AppHarness) -> None:
    body = harness.get("/v1/model").json()
    assert (body["version"], body["config"]["layers"], body["test"]) == ("v1", 2, None)


def test_reload_serves_newest_or_named_version(guarded: AppHarness) -> None:
    newest = guarded.post("/v1/admin/reload", headers=BEARER, json={})
    assert newest.json() == {"model_version": "v2", "previous_version": "v1"}
    chosen = guarded.post("/v1/admin/reload", headers=BEARER, json={"version": "2026.11-a"})
    assert chosen.json()["model_version"] == "2026.11-a"
    missing = guarded.post("/v1/admin/reload", headers=BEARER, json={"version": "missing"})
    assert guarded.refused(404, missing)["code"] == "model_version_not_found"
    for version in ("../x", "", "a/b", 3, "x" * 129, ".hidden"):
        guarded.refused(422, guarded.post("/v1/admin/reload", headers=BEARER, json={"version": version}))


@pytest.mark.parametrize("body", [b"", b"null", b"[]"])
def test_reload_without_an_object_guesses_nothing(guarded: AppHarness, body: bytes) -> None:
    response = guarded.post("/v1/admin/reload", headers={**BEARER, "content-type": "application/json"}, content=body)
    error = guarded.refused(422, response)
    assert error["details"][0]["field"] == "body"
    if not body:
        assert error["details"][0]["problem"].endswith("a JSON object, {} if every field may be left out")
    assert guarded.get("/v1/model", headers=BEARER).json()["version"] == "v1"


class RefusingModels(FakeModels):
    async def reload(self, version: str | None) -> Engine:
        raise RolloutRefused("the weights do not match their checksum; publish the bundle again")


def test_refused_reload_is_409_and_live_model_stays(tmp_path: Path) -> None:
    key = "k" * 16
    harness = AppHarness(tmp_path, keys=(key,), models=RefusingModels(FakeEngine())).start()
    headers: dict[str, Any] = {"x-api-key": key}
    assert (
        harness.refused(409, harness.post("/v1/admin/reload", headers=headers, json={}))["code"] == "reload_refused"
    )
    assert harness.get("/v1/model", headers=headers).json()["version"] == "v1"
    harness.close()


def test_ab_test_serves_two_versions_until_it_ends(guarded: AppHarness) -> None:
    reader: dict[str, Any] = {"headers": BEARER}
    assert guarded.get("/v1/model", **reader).json()["test"] is None
    assert guarded.refused(409, guarded.post("/v1/admin/test/end", headers=BEARER, json={"winner": "v1"}))
    begun = guarded.post("/v1/admin/test", headers=BEARER, json={"version": "v2", "share": 0.25})
    assert begun.json() == {"model_version": "v1", "tested_version": "v2", "share": 0.25}
    model = guarded.get("/v1/model", **reader).json()
    assert (model["version"], model["test"]["version"], model["test"]["share"]) == ("v1", "v2", 0.25)
    assert model["test"]["metrics"] == model["metrics"]
    page = guarded.get("/metrics", **reader).text
    assert 'recblr_model_info{version="v1"} 1.0' in page
    assert 'recblr_model_info{version="v2"} 1.0' in page
    refused = guarded.post("/v1/admin/test", headers=BEARER, json={"version": "v1", "share": 0.5})
    assert guarded.refused(409, refused)["code"] == "reload_refused"
    for share in (0, 1, -0.1, "0.5", None, True):
        body = {"version": "v2", "share": share}
        guarded.refused(422, guarded.post("/v1/admin/test", headers=BEARER, json=body))
    ended = guarded.post("/v1/admin/test/end", headers=BEARER, json={"winner": "v2"})
    assert ended.json() == {"model_version": "v2", "previous_version": "v1"}
    assert guarded.get("/v1/model", **reader).json()["test"] is None
