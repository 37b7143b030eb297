"""Workers that read a stream are killed in the middle, over and over; each user's log is the stream all the same."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from pathlib import Path

import pytest
import redis

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.form import report, times
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

USERS, ITEMS, EVERY_BAD = 20, 40, 97
LONGEST_SECONDS = 120.0
SEED = 20261124


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_survives_kill_9(tmp_path: Path, workers: int) -> None:
    kills, count = times(3, 20), times(9_000, 60_000)
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1)))
    dice = random.Random(SEED)
    with RedisServer() as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        settings = {
            "RECBLR_STREAM_URL": f"{server.url}?stream=clicks",
            "RECBLR_WORKERS": str(workers),
            "RECBLR_EVENTS_KEPT": "100000",
        }
        service = RunningService(tmp_path, server.url, tmp_path / "bundle", **settings)
        sent: dict[str, list[str]] = defaultdict(list)
        bad = unfinished = interrupted = 0
        recovery: list[float] = []
        with service:
            for part in range(kills + 1):
                bad += _send(client, sent, dice, part, count // (kills + 1))
                if part == kills:
                    break
                share = dice.uniform(0.2, 0.7) * count / (kills + 1)
                began, wanted = time.monotonic(), client.xlen("clicks") - share
                while client.xlen("clicks") - _unfinished(client) < wanted:
                    _in_time(began)
                time.sleep(dice.uniform(0.0, 0.15))  # to anywhere between reading a batch and finishing it
                service.kill()
                began, left = time.monotonic(), _unfinished(client)
                interrupted += client.xpending("clicks", "recblr")["pending"]
                service.__enter__()
                while left and _unfinished(client) == left:
                    _in_time(began)
                recovery.append(time.monotonic() - began)
                unfinished += left
            began = time.monotonic()
            while _unfinished(client):
                _in_time(began)
            found = {user: _items(service, user) for user in sent}
            assert client.xlen("clicks:recblr:dead") == bad
        lost = sum(len(set(sent[user]) - set(found[user])) for user in sent)
        duplicated = sum(len(found[user]) - len(set(found[user])) for user in sent)
        report(
            "kill -9 of all workers while they read a stream",
            workers=workers,
            seed=SEED,
            kills=kills,
            entries_unfinished_at_kills=unfinished,
            of_these_being_recorded=interrupted,
            events=sum(map(len, sent.values())),
            lost=lost,
            duplicated=duplicated,
            out_of_order=sum(found[user] != sent[user] for user in sent),
            longest_recovery_seconds=round(max(recovery), 2),
        )
        assert found == sent
        assert unfinished  # or nothing was killed in the middle


def _send(client: redis.Redis, sent: dict[str, list[str]], dice: random.Random, part: int, count: int) -> int:
    """`count` entries, each named by a timestamp of its own; how many of them hold no event."""
    pipeline = client.pipeline(transaction=False)
    bad = 0
    for number in range(count):
        if number % EVERY_BAD == 0:
            bad += 1
            pipeline.xadd("clicks", {"user_id": "nobody"})
            continue
        user, name = f"user {dice.randrange(USERS)}", str(part * count + number)
        fields = {"user_id": user, "item_id": f"i{1 + dice.randrange(ITEMS)}", "timestamp": name}
        if number % 2:
            fields["event_id"] = f"e{name}"
        pipeline.xadd("clicks", fields)
        sent[user].append(name)
    pipeline.execute()
    return bad


def _items(service: RunningService, user: str) -> list[str]:
    """The names of the user's events, oldest first."""
    names: list[str] = []
    before: dict[str, object] = {}
    while True:
        page = service.get(f"/users/{user}/events", **before)
        names = [str(int(event["timestamp"])) for event in page["events"]] + names
        if page["next_before"] is None:
            return names
        before = {"before": page["next_before"]}


def _unfinished(client: redis.Redis) -> int:
    [group] = client.xinfo_groups("clicks")
    return int(group["lag"]) + int(group["pending"])


def _in_time(began: float) -> None:
    assert time.monotonic() - began < LONGEST_SECONDS
    time.sleep(0.02)
