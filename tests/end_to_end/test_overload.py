"""Requests queued behind an event log that hangs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import KEY, RunningService
from tests.model.builders import bundle_of
from tests.servers import RedisServer

WAVES, CLIENTS = 20, 8


def test_queued_requests_past_their_deadline_are_503_and_not_started(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=5, dim=8)))
    with (
        RedisServer() as redis,
        RunningService(tmp_path, redis.url, tmp_path / "bundle", RECBLR_DEADLINE="0.2") as service,
        httpx.Client(base_url=service.url, headers={"X-API-Key": KEY}, timeout=60) as client,
        ThreadPoolExecutor(CLIENTS) as threads,
    ):

        def post(user_id: str) -> tuple[str, httpx.Response]:
            return user_id, client.post("/v1/events?k=1", json={"user_id": user_id, "item_id": "i1"})

        redis.pause()
        late: list[str] = []
        for wave in range(WAVES):
            for user_id, answer in threads.map(post, [f"{wave}-{n}" for n in range(CLIENTS)]):
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                code = answer.json()["error"]["code"]
                assert code in ("store_unavailable", "deadline_exceeded")
                late += [user_id] if code == "deadline_exceeded" else []
            if late:
                break
        redis.resume()
        assert late
        expired = f'recblr_deadline_exceeded_total{{stage="append_and_read"}} {len(late)}.0'
        assert expired in client.get("/metrics").text
        tried_until = time.monotonic() + 10  # the store retries Redis only now and then
        while post("afterwards")[1].status_code != 200:
            assert time.monotonic() < tried_until
            time.sleep(0.05)
        for user_id in late:
            assert client.get(f"/v1/users/{user_id}").status_code == 404
