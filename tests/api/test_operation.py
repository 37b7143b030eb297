"""What operators see: health, metrics, logs, the OpenAPI page and the console."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.observability.logging import configure_logging
from service.observability.metrics import PrometheusMeter
from tests.api.app_harness import AppHarness
from tests.core.fakes import MemoryStore


def test_ready_only_while_the_service_runs(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path)
    assert harness.get("/healthz").status_code == 200
    assert harness.refused(503, harness.get("/readyz"))["code"] == "not_ready"
    assert harness.refused(503, harness.get("/v1/model"))["code"] == "not_ready"
    harness.start()
    assert harness.get("/readyz").json() == {"status": "ready"}
    harness.stop()
    response = harness.get("/readyz")
    harness.refused(503, response)
    assert response.headers["retry-after"]
    assert harness.get("/healthz").status_code == 200
    harness.close()


class HangingStore(MemoryStore):
    async def ping(self) -> None:
        await asyncio.sleep(60)


def test_not_ready_when_the_store_is_down_or_hangs(tmp_path: Path) -> None:
    store = MemoryStore()
    harness = AppHarness(tmp_path, store=store).start()
    store.down = True
    harness.refused(503, harness.get("/readyz"))
    harness.close()
    hanging = AppHarness(tmp_path, store=HangingStore()).start()
    hanging.refused(503, hanging.get("/readyz"))
    hanging.close()


def test_metrics_have_bounded_labels(harness: AppHarness) -> None:
    for user in ("alice", "bob"):
        harness.post("/v1/events?k=1", json={"user_id": user, "item_id": "1"})
        harness.get(f"/v1/users/{user}/recommendations")
    harness.get("/nowhere/alice")
    harness.call("BREW", "/v1/events")
    response = harness.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    page = response.text
    for line in (
        'recblr_http_request_seconds_count{method="POST",route="/v1/events",status="200"} 2.0',
        '{method="GET",route="/v1/users/{user_id}/recommendations",status="200"} 2.0',
        'recblr_http_request_seconds_count{method="GET",route="unmatched",status="404"} 1.0',
        "recblr_http_requests_in_progress 1.0",
        'recblr_store_seconds_count{operation="visit"} 4.0',
        'recblr_model_info{version="v1"} 1.0',
        "recblr_replay_events_count 4.0",
        "recblr_cold_starts_total 0.0",
        "recblr_snapshots_damaged_total 0.0",
    ):
        assert line in page, line
    assert "alice" not in page
    assert "BREW" not in page


def test_a_visit_that_fails_is_counted(tmp_path: Path) -> None:
    store = MemoryStore()
    harness = AppHarness(tmp_path, store=store).start()
    harness.get("/v1/users/u/recommendations")
    store.down = True
    harness.refused(503, harness.post("/v1/events", json={"user_id": "u", "item_id": "1"}))
    page = harness.get("/metrics").text
    assert 'recblr_store_failures_total{operation="visit"} 1.0' in page
    assert 'recblr_store_seconds_count{operation="visit"} 2.0' in page
    harness.close()


def test_gauges_of_workers_that_died_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = tmp_path / f"gauge_livesum_{gone.pid}.db", tmp_path / f"gauge_livesum_{os.getpid()}.db"
    dead.touch()
    alive.touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    PrometheusMeter()
    assert (dead.exists(), alive.exists()) == (False, True)


def test_a_reload_replaces_the_version_in_the_metrics(harness: AppHarness) -> None:
    harness.get("/metrics")
    asyncio.run(harness.models.reload("v9"))
    page = harness.get("/metrics").text
    assert 'recblr_model_info{version="v9"} 1.0' in page
    assert 'version="v1"' not in page


def test_openapi_is_complete(harness: AppHarness) -> None:
    schema = harness.get("/openapi.json").json()
    operations = {f"{method.upper()} {path}" for path, methods in schema["paths"].items() for method in methods}
    assert operations == {
        "POST /v1/events",
        "POST /v1/events/batch",
        "GET /v1/users/{user_id}/recommendations",
        "POST /v1/recommendations",
        "POST /v1/users/{user_id}/rank",
        "GET /v1/items/{item_id}/similar",
        "GET /v1/users/{user_id}",
        "GET /v1/users/{user_id}/events",
        "GET /v1/users/{user_id}/audit",
        "POST /v1/users/{user_id}/merge",
        "DELETE /v1/users/{user_id}",
        "DELETE /v1/users/{user_id}/events/{event_id}",
        "GET /v1/model",
        "POST /v1/admin/reload",
        "GET /v1/admin/backfills",
        "POST /v1/admin/test",
        "POST /v1/admin/test/end",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "api_key"}
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    batch = schema["components"]["schemas"]["EventBatchIn"]["properties"]["events"]
    assert batch["items"] == {"$ref": "#/components/schemas/EventIn"}
    assert (batch["minItems"], batch["maxItems"]) == (1, 1000)
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            assert {"4XX", "5XX"} <= set(operation["responses"])
            assert operation["description"]
            scope = operation["x-scope"]
            assert (scope == "none") == (path in ("/healthz", "/readyz"))
            assert (scope == "admin") == path.startswith("/v1/admin/")
            named = [] if scope == "none" else [{"bearer": [scope]}, {"api_key": [scope]}]
            assert operation["security"] == ([*named, {}] if scope in ("read", "write") else named)


def test_the_docs_page_is_there(harness: AppHarness) -> None:
    assert "swagger" in harness.get("/docs").text.lower()


def test_the_console_is_served_if_it_exists_and_can_run_only_its_own_code(tmp_path: Path) -> None:
    bare = AppHarness(tmp_path).start()
    bare.refused(404, bare.get("/"))
    bare.close()
    page = '<!doctype html><style>b{}</style><script type="module">go()</script>'
    (tmp_path / "index.html").write_text(page)
    harness = AppHarness(tmp_path).start()
    response = harness.get("/")
    assert response.text == page
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self';")
    # printf 'go()' | openssl dgst -sha256 -binary | base64
    assert "script-src 'sha256-" in policy
    assert "unsafe" not in policy
    harness.close()


def test_logs_are_json_with_the_request_id(harness: AppHarness, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        configure_logging("debug")
        harness.get("/v1/users/alice", headers={"x-request-id": "abc"})
    finally:
        root.handlers[:], root.level = before
        logging.captureWarnings(False)
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    access = [line for line in lines if line["message"] == "request"]
    assert len(access) == 1
    assert access[0]["request_id"] == "abc"
    assert (access[0]["level"], access[0]["route"], access[0]["status"]) == ("DEBUG", "/v1/users/{user_id}", 404)
    assert access[0]["timestamp"]
