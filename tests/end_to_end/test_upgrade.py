"""Upgrades: machine by machine, and on a recorded store."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.deployments import wait_for
from tests.end_to_end.event_writer import USERS, EventWriter
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
def recorded_sqlite(folder: Path) -> Iterator[str]:
    (folder / "recblr.db").write_bytes(gzip.decompress((RECORDED / "0.1.0.db.gz").read_bytes()))
    yield f"sqlite:///{folder}/recblr.db"


@contextmanager
def recorded_redis(folder: Path) -> Iterator[str]:
    with RedisServer(appendonly="no") as server:
        server.kill()
        shutil.copy(RECORDED / "0.1.0.rdb", server.folder / "dump.rdb")
        server.start()
        yield server.url


@pytest.mark.parametrize("recorded", [recorded_sqlite, recorded_redis], ids=lambda recorded: recorded.__name__)
def test_recorded_store_of_an_earlier_release_is_read_and_continued(
    tmp_path: Path, recorded: Callable[[Path], AbstractContextManager[str]]
) -> None:
    expected = json.loads((RECORDED / "0.1.0.json").read_text())
    with recorded(tmp_path) as url, RunningService(tmp_path, url, BUNDLE) as service:
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
