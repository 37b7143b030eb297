"""Workers killed while they read a stream; no entry is lost."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

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

USERS, ITEMS = 20, 40
INVALID_INTERVAL = 97  # one entry in so many holds no event
SEED = 20261124
STREAM = "clicks"


class EventProducer:
    """Producer of a stream of events."""

    def __init__(self, client: redis.Redis, rng: random.Random) -> None:
        self._client, self._rng = client, rng
        self.sent: dict[str, list[str]] = defaultdict(list)  # timestamps of each user's events, in order
        self.invalid = 0

    def send(self, count: int) -> None:
        """Append entries with unique timestamps, half of them with event ids."""
        pipeline = self._client.pipeline(transaction=False)
        first = sum(map(len, self.sent.values())) + self.invalid
        for number in range(first, first + count):
            if (number - first) % INVALID_INTERVAL == 0:
                self.invalid += 1
                pipeline.xadd(STREAM, {"user_id": "nobody"})
                continue
            user, timestamp = f"user {self._rng.randrange(USERS)}", str(number)
            fields = {"user_id": user, "item_id": f"i{1 + self._rng.randrange(ITEMS)}", "timestamp": timestamp}
            if (number - first) % 2:
                fields["event_id"] = f"e{timestamp}"
            pipeline.xadd(STREAM, fields)
            self.sent[user].append(timestamp)
        pipeline.execute()


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_workers_lose_and_double_no_entry_of_a_stream(tmp_path: Path, workers: int) -> None:
    kill_count, entries = short_or_long(3, 20), short_or_long(9_000, 60_000)
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1)))
    rng = random.Random(SEED)
    with RedisServer() as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        settings = {
            "RECBLR_STREAM_URL": f"{server.url}?stream={STREAM}",
            "RECBLR_WORKERS": str(workers),
            "RECBLR_EVENTS_KEPT": "100000",
        }
        producer, stream, kills = EventProducer(client, rng), StreamProgress(client, STREAM), Kills()
        part = entries // (kill_count + 1)
        with RunningService(tmp_path, server.url, tmp_path / "bundle", **settings) as service:
            for _ in range(kill_count):
                producer.send(part)
                target = client.xlen(STREAM) - rng.uniform(0.3, 0.9) * part
                wait_until(lambda target=target: stream.finished() >= target)  # type: ignore[misc]
                kills.kill_and_restart(service, stream)
            producer.send(part)
            wait_until(lambda: not stream.unfinished())
            recorded = {user: timestamps_of(service, user) for user in producer.sent}
            assert stream.dead_letters() == producer.invalid
    report_stream(workers, kill_count, producer, kills, recorded)
    assert recorded == producer.sent
    assert kills.amid_a_batch == kill_count


def report_stream(
    workers: int, kill_count: int, producer: EventProducer, kills: Kills, recorded: dict[str, list[str]]
) -> None:
    sent = producer.sent
    report(
        "kill -9 of all workers while they read a stream",
        workers=workers,
        seed=SEED,
        kills=kill_count,
        entries_unfinished_at_kills=kills.unfinished,
        of_these_being_recorded=kills.pending,
        events=sum(map(len, sent.values())),
        lost=sum(len(set(sent[user]) - set(recorded[user])) for user in sent),
        duplicated=sum(len(recorded[user]) - len(set(recorded[user])) for user in sent),
        out_of_order=sum(recorded[user] != sent[user] for user in sent),
        longest_recovery_seconds=round(max(kills.recovery_seconds), 2),
    )


def timestamps_of(service: RunningService, user: str) -> list[str]:
    """Return the timestamps of the user's events in the log, oldest first."""
    timestamps: list[str] = []
    before: dict[str, object] = {}
    while True:
        page = service.get(f"/users/{user}/events", **before)
        timestamps = [str(int(event["timestamp"])) for event in page["events"]] + timestamps
        if page["next_before"] is None:
            return timestamps
        before = {"before": page["next_before"]}
