"""Upgrades: machine by machine, and on a recorded store."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from service.core.catalogue.revisions import includes
from service.core.catalogue_store import catalogue_shard
from service.store.redis.layout import catalogue_keys
from tests.deployments import wait_for
from tests.end_to_end.event_writer import USERS, EventWriter
from tests.end_to_end.recorded_stores.record import catalogue_of
from tests.end_to_end.service import RunningService
from tests.end_to_end.test_backup import assert_audit_agrees
from tests.environment import ROOT
from tests.servers import RedisServer

BUNDLE = ROOT / "bundles" / "ml-1m-demo"
RECORDED = Path(__file__).parent / "recorded_stores"


def test_restart_of_one_machine_after_the_other_loses_and_repeats_nothing(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    with RedisServer() as server:
        one, other = (RunningService(folder, server.url, BUNDLE) for folder in folders)
        with one, other:
            writers = [EventWriter(one.url, other.url), EventWriter(other.url, one.url)]
            writers[1].number = 10_000_000  # events of its own, of the same users
            for writer in writers:
                writer.start()
            for service in (one, other):
                await_events(writers, 3 * USERS)
                assert service.stop() == 0
                await_events(writers, USERS)
                service.start()
            for writer in writers:
                writer.stop()
                assert set(writer.refused) <= {503}
            for user in writers[0].acknowledged:
                sent = [event for writer in writers for event in writer.acknowledged[user]]
                kept = one.event_ids(user)
                assert sorted(kept) == sorted(sent)
                for writer in writers:  # each client's events in its order
                    own = set(writer.acknowledged[user])
                    assert [event for event in kept if event in own] == writer.acknowledged[user]
                assert_audit_agrees(other, user)


def await_events(writers: list[EventWriter], count: int) -> None:
    """Wait until each writer has sent `count` more events."""
    goals = [writer.number + count for writer in writers]
    wait_for("events", lambda: all(writer.number > goal for writer, goal in zip(writers, goals, strict=True)))


@contextmanager
def recorded_sqlite(folder: Path, name: str) -> Iterator[str]:
    (folder / "recblr.db").write_bytes(gzip.decompress((RECORDED / f"{name}.db.gz").read_bytes()))
    yield f"sqlite:///{folder}/recblr.db"


@contextmanager
def recorded_redis(folder: Path, name: str) -> Iterator[str]:
    with RedisServer(appendonly="no") as server:
        server.kill()
        shutil.copy(RECORDED / f"{name}.rdb", server.folder / "dump.rdb")
        server.start()
        yield server.url


Recorded = Callable[[Path, str], AbstractContextManager[str]]
both_backends = pytest.mark.parametrize(
    "recorded", [recorded_sqlite, recorded_redis], ids=lambda recorded: recorded.__name__
)


@both_backends
def test_recorded_store_of_an_earlier_release_is_read_and_continued(tmp_path: Path, recorded: Recorded) -> None:
    expected = json.loads((RECORDED / "0.1.0.json").read_text())
    with recorded(tmp_path, "0.1.0") as url, RunningService(tmp_path, url, BUNDLE) as service:
        for user, events in expected["events"].items():
            found = service.get(f"/users/{user}/events", limit=1000)["events"]
            names = ("sequence", "item_id", "timestamp", "event_id")
            assert [{name: event[name] for name in names} for event in found] == events, user
            assert_audit_agrees(service, user)
        for event in expected["known"]:
            assert service.post("/events", event)["duplicate"], event
        for user, following in expected["next_sequence"].items():
            assert service.post("/events", {"user_id": user, "item_id": "260"})["sequence"] == following
            assert_audit_agrees(service, user)


@both_backends
def test_recorded_catalogue_of_an_earlier_release_is_read_and_continued(tmp_path: Path, recorded: Recorded) -> None:
    expected = json.loads((RECORDED / "0.1.0-catalogue.json").read_text())
    with recorded(tmp_path, "0.1.0-catalogue") as url, RunningService(tmp_path, url, BUNDLE) as service:
        assert catalogue_of(service) == expected
        before = service.get("/items")["catalogue_revision"]
        assert not service.put("/items/of no model", {})["changed"]  # equal items still have equal records
        changed = service.put("/items/1196", {"available": False, "attributes": {"price": 4}})
        wait_for("the change", lambda: "1196" in catalogue_of(service)["hidden"])
        after = service.get("/items")["catalogue_revision"]
        assert includes(after, before) and includes(after, changed["catalogue_revision"])
        cheap = service.post("/items/batch", {"items": [{"item_id": "260", "available": True}], "mode": "patch"})
        assert cheap["results"][0]["changed"]
        wait_for("the second change", lambda: "260" not in catalogue_of(service)["hidden"])
        question = {"history": [], "k": 50, "filter_name": "cheap", "params": {"most": 5}}
        assert [item["item_id"] for item in service.post("/recommendations", question)["items"]] == ["260"]


def test_item_of_a_newer_release_stops_its_shard_alone_and_is_not_misread(tmp_path: Path) -> None:
    """As when workers of two releases run on one store."""
    shard = catalogue_shard("260")
    other = next(str(n) for n in range(1, 50) if catalogue_shard(str(n)) != shard)
    items, changes = catalogue_keys(shard)
    with (
        RedisServer() as server,
        RunningService(tmp_path, server.url, BUNDLE) as service,
        Redis(port=server.port) as redis,
    ):
        for item in ("260", other):
            service.put(f"/items/{item}", {"available": False})
        wait_for("both items", lambda: hidden(service, "260", other) == {"260", other})
        readable = redis.hget(items, "260")
        newest = int(redis.xrevrange(changes, count=1)[0][0].partition(b"-")[0])
        newer = readable[:9].replace(struct.pack("<d", newest), struct.pack("<d", newest + 1)) + b'{"format":2}'
        redis.xadd(changes, {"format": 1, "token": "newer", "name": "260"}, id=f"{newest + 1}-0")
        redis.hset(items, "260", newer)
        wait_for("the copy to be old", lambda: service.metric("recblr_catalogue_age_seconds") > 1)
        assert service.ready()
        service.put(f"/items/{other}", {"available": True})
        wait_for("the other item", lambda: hidden(service, "260", other) == {"260"})
        assert "an item's record has format 2, which this release cannot read" in service.log()
        service.put("/items/260", {"available": True})  # replaces the record
        wait_for("the item", lambda: hidden(service, "260", other) == set())
        wait_for("the copy to be current", lambda: service.metric("recblr_catalogue_age_seconds") < 1)


def hidden(service: RunningService, *items: str) -> set[str]:
    answer = service.post("/recommendations", {"history": [], "k": 4000})
    return set(items) - {item["item_id"] for item in answer["items"]}
