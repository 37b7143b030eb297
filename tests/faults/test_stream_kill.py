"""Workers that read a stream are killed; no entry is lost."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.mode import report, short_or_long
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

USERS, ITEMS, EVERY_BAD = 20, 40, 97
TIMEOUT_SECONDS = 120.0
SEED = 20261124


class Kill(NamedTuple):
    """Entries that were not acknowledged, those being recorded, and the recovery time."""

    unfinished: int
    being_recorded: int
    recovery_seconds: float


@pytest.mark.parametrize("workers", [1, 2])
def test_stream_reader_survives_kill_9(tmp_path: Path, workers: int) -> None:
    kills, count = short_or_long(3, 20), short_or_long(9_000, 60_000)
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1)))
    rng = random.Random(SEED)
    with RedisServer() as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        settings = {
            "RECBLR_STREAM_URL": f"{server.url}?stream=clicks",
            "RECBLR_WORKERS": str(workers),
            "RECBLR_EVENTS_KEPT": "100000",
        }
        service = RunningService(tmp_path, server.url, tmp_path / "bundle", **settings)
        sent: dict[str, list[str]] = defaultdict(list)
        bad, kills_done = 0, list[Kill]()
        with service:
            for part in range(kills + 1):
                bad += _send(client, sent, rng, part, count // (kills + 1))
                if part == kills:
                    break
                kills_done.append(_kill(service, client, rng, count / (kills + 1)))
            started_at = time.monotonic()
            while _count_pending(client):
                _check_time(started_at)
            found = {user: _event_names(service, user) for user in sent}
            assert client.xlen("clicks:recblr:dead") == bad
        lost = sum(len(set(sent[user]) - set(found[user])) for user in sent)
        duplicated = sum(len(found[user]) - len(set(found[user])) for user in sent)
        report(
            "kill -9 of all workers while they read a stream",
            workers=workers,
            seed=SEED,
            kills=kills,
            entries_unfinished_at_kills=sum(kill.unfinished for kill in kills_done),
            of_these_being_recorded=sum(kill.being_recorded for kill in kills_done),
            events=sum(map(len, sent.values())),
            lost=lost,
            duplicated=duplicated,
            out_of_order=sum(found[user] != sent[user] for user in sent),
            longest_recovery_seconds=round(max(kill.recovery_seconds for kill in kills_done), 2),
        )
        assert found == sent
        assert any(kill.unfinished for kill in kills_done)  # otherwise no kill interrupted anything


def _kill(service: RunningService, client: redis.Redis, rng: random.Random, entries: float) -> Kill:
    """Kill the workers midway through `entries`; wait until new ones read."""
    started_at, target = time.monotonic(), client.xlen("clicks") - rng.uniform(0.2, 0.7) * entries
    while client.xlen("clicks") - _count_pending(client) < target:
        _check_time(started_at)
    time.sleep(rng.uniform(0.0, 0.15))  # at any moment between reading a batch and acknowledging it
    service.kill()
    started_at, unfinished = time.monotonic(), _count_pending(client)
    being_recorded = client.xpending("clicks", "recblr")["pending"]
    service.__enter__()
    while unfinished and _count_pending(client) == unfinished:
        _check_time(started_at)
    return Kill(unfinished, being_recorded, time.monotonic() - started_at)


def _send(client: redis.Redis, sent: dict[str, list[str]], rng: random.Random, part: int, count: int) -> int:
    """Send `count` entries; return how many are invalid."""
    pipeline = client.pipeline(transaction=False)
    bad = 0
    for number in range(count):
        if number % EVERY_BAD == 0:
            bad += 1
            pipeline.xadd("clicks", {"user_id": "nobody"})
            continue
        user, name = f"user {rng.randrange(USERS)}", str(part * count + number)
        fields = {"user_id": user, "item_id": f"i{1 + rng.randrange(ITEMS)}", "timestamp": name}
        if number % 2:
            fields["event_id"] = f"e{name}"
        pipeline.xadd("clicks", fields)
        sent[user].append(name)
    pipeline.execute()
    return bad


def _event_names(service: RunningService, user: str) -> list[str]:
    """Return the names of the user's events, oldest first."""
    names: list[str] = []
    before: dict[str, object] = {}
    while True:
        page = service.get(f"/users/{user}/events", **before)
        names = [str(int(event["timestamp"])) for event in page["events"]] + names
        if page["next_before"] is None:
            return names
        before = {"before": page["next_before"]}


def _count_pending(client: redis.Redis) -> int:
    [group] = client.xinfo_groups("clicks")
    return int(group["lag"]) + int(group["pending"])


def _check_time(started_at: float) -> None:
    assert time.monotonic() - started_at < TIMEOUT_SECONDS
    time.sleep(0.02)
