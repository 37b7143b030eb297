"""Routes for liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from tests.api.app_harness import AppHarness
from tests.core.memory_store import MemoryStore
from tests.deployments import wait_for


def test_service_is_ready_only_between_start_and_stop(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path)
    assert harness.get("/healthz").status_code == 200
    assert harness.refused(503, harness.get("/readyz"))["code"] == "not_ready"
    assert harness.refused(503, harness.get("/v1/model"))["code"] == "not_ready"
    harness.start()
    ready = harness.get("/readyz").json()
    assert 0 <= ready.pop("catalogue_age_seconds") < 60
    assert ready == {"status": "ready", "event_log": "ok"}
    harness.stop()
    response = harness.get("/readyz")
    harness.refused(503, response)
    assert response.headers["retry-after"]
    assert harness.get("/healthz").status_code == 200
    harness.close()


def test_full_store_leaves_service_ready_and_is_named(tmp_path: Path) -> None:
    store = MemoryStore()
    harness = AppHarness(tmp_path, store=store).start()
    assert harness.get("/readyz").json()["event_log"] == "ok"
    store.used = 1.0
    wait_for("the next ping", lambda: harness.get("/readyz").json()["event_log"] == "full", 10)
    store.used = 0.99
    wait_for("the next ping", lambda: harness.get("/readyz").json()["event_log"] == "ok", 10)
    harness.close()


class HangingStore(MemoryStore):
    async def ping(self) -> None:
        await asyncio.sleep(60)


def test_service_is_not_ready_while_store_is_down_or_hangs(tmp_path: Path) -> None:
    store = MemoryStore()
    harness = AppHarness(tmp_path, store=store).start()
    store.down = True
    harness.refused(503, harness.get("/readyz"))
    harness.close()
    hanging = AppHarness(tmp_path, store=HangingStore()).start()
    hanging.refused(503, hanging.get("/readyz"))
    hanging.close()


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.pings = 0

    async def ping(self) -> None:
        self.pings += 1
        await asyncio.sleep(0.02)
        await super().ping()


def test_many_readiness_checks_share_one_ping(tmp_path: Path) -> None:
    store = CountingStore()
    harness = AppHarness(tmp_path, store=store).start()

    async def ask_together() -> list[int]:
        transport = httpx.ASGITransport(harness.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [each.status_code for each in await asyncio.gather(*(client.get("/readyz") for _ in range(50)))]

    assert harness.run(ask_together()) == [200] * 50
    assert store.pings == 1
    store.down = True
    wait_for("the next ping", lambda: harness.get("/readyz").status_code == 503, 10)
    store.down = False
    wait_for("the next ping", lambda: harness.get("/readyz").status_code == 200, 10)
    harness.close()
