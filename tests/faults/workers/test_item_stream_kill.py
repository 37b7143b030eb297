"""Workers killed while they read items; each change takes effect once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import redis

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.stream_progress import Kills, StreamProgress, wait_until
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

ITEMS = 300
INVALID_INTERVAL = 97  # one entry in so many holds no item
SEED = 20261130
STREAM = "items"

State = dict[str, Any]


class ItemProducer:
    """Producer of a stream of items, and the catalogue that it describes."""

    def __init__(self, client: redis.Redis, rng: random.Random) -> None:
        self._client, self._rng = client, rng
        self.expected: dict[str, State] = {}
        self.sent = self.invalid = 0

    def send(self, count: int) -> None:
        """Append puts, patches and deletions; `n` of an item grows."""
        pipeline = self._client.pipeline(transaction=False)
        for _ in range(count):
            self.sent += 1
            if self.sent % INVALID_INTERVAL == 0:
                self.invalid += 1
                pipeline.xadd(STREAM, {"item": "{}"})
                continue
            mode, item = self._change(f"i{1 + self._rng.randrange(ITEMS)}")
            pipeline.xadd(STREAM, {"mode": mode, "item": json.dumps(item)})
        pipeline.execute()

    def _change(self, item_id: str) -> tuple[str, State]:
        change: State = {"available": self._rng.random() < 0.5, "attributes": {"n": float(self.sent)}}
        draw = self._rng.random()
        if draw < 0.1:
            self.expected.pop(item_id, None)
            return "delete", {"item_id": item_id}
        if draw < 0.5 or item_id not in self.expected:
            change["title"] = f"Title {self.sent}"
            self.expected[item_id] = {"item_id": item_id, "categories": [], **change}
            return "put", {"item_id": item_id, **change}
        self.expected[item_id] |= change
        return "patch", {"item_id": item_id, **change}


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_workers_lose_and_repeat_no_change_of_an_item(tmp_path: Path, workers: int) -> None:
    kill_count, entries = short_or_long(3, 20), short_or_long(24_000, 160_000)
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1)))
    rng = random.Random(SEED)
    with RedisServer() as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        settings = {"RECBLR_ITEM_STREAM_URL": f"{server.url}?stream={STREAM}", "RECBLR_WORKERS": str(workers)}
        producer, stream, kills = ItemProducer(client, rng), StreamProgress(client, STREAM), Kills()
        part, went_back = entries // (kill_count + 1), 0
        with RunningService(tmp_path, server.url, tmp_path / "bundle", **settings) as service:
            for _ in range(kill_count):
                producer.send(part)
                target = client.xlen(STREAM) - rng.uniform(0.3, 0.9) * part
                wait_until(lambda target=target: stream.finished() >= target)  # type: ignore[misc]
                before = numbers(service)
                kills.kill_and_restart(service, stream)
                after = numbers(service)
                went_back += sum(after.get(item_id, number) < number for item_id, number in before.items())
            producer.send(part)
            wait_until(lambda: not stream.unfinished())
            wait_until(lambda: catalogue(service) == producer.expected)
            dead_letters, metrics = stream.dead_letters(), service.metrics()
    report(
        "kill -9 of all workers while they read a stream of items",
        workers=workers,
        seed=SEED,
        kills=kill_count,
        entries=producer.sent,
        entries_unfinished_at_kills=kills.unfinished,
        of_these_being_applied=kills.pending,
        items_that_went_back=went_back,
        dead_letters=dead_letters,
        longest_recovery_seconds=round(max(kills.recovery_seconds), 2),
    )
    assert (went_back, dead_letters) == (0, producer.invalid)
    assert kills.amid_a_batch == kill_count
    assert 'recblr_item_stream_entries_total{outcome="changed"}' in metrics


def catalogue(service: RunningService) -> dict[str, State]:
    """Return the service's items by id."""
    listed = service.get("/items", limit=1000)["items"]
    return {item["item_id"]: item for item in listed}


def numbers(service: RunningService) -> dict[str, float]:
    """Return the newest number that each item has had."""
    return {item_id: item["attributes"]["n"] for item_id, item in catalogue(service).items()}
