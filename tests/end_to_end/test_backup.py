"""Backups under load restore all events acknowledged before."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from service.main import PAGES
from tests.deployments import wait_for
from tests.end_to_end.service import KEY, RunningService
from tests.servers import RedisServer

BUNDLE = PAGES.parents[1] / "bundles" / "ml-1m-demo"
USERS = 20
Backup = Callable[[], str]


@contextmanager
def sqlite(folder: Path) -> Iterator[tuple[str, Backup]]:
    """Yield a state URL and its backup, which returns the copy's URL."""

    def backup() -> str:
        with (
            closing(sqlite3.connect(folder / "recblr.db")) as source,
            closing(sqlite3.connect(folder / "backup.db")) as copy,
        ):
            source.backup(copy)
        return f"sqlite:///{folder}/backup.db"

    yield f"sqlite:///{folder}/recblr.db", backup


@contextmanager
def redis_dump(folder: Path) -> Iterator[tuple[str, Backup]]:
    """Do the same with BGSAVE and a copy of dump.rdb."""
    with RedisServer() as server, RedisServer(appendonly="no") as restored:

        def backup() -> str:
            with closing(redis.Redis(port=server.port)) as client:
                run_bgsave(client)
            restored.kill()
            shutil.copy(server.folder / "dump.rdb", restored.folder / "dump.rdb")
            restored.start()
            return restored.url

        yield server.url, backup


def run_bgsave(client: redis.Redis) -> None:
    """Write dump.rdb, and wait until it is complete.

    `rdb_saves` counts a save when it starts; LASTSAVE moves when it has ended well.
    """
    before = client.lastsave()
    # LASTSAVE counts whole seconds, and an empty server's own start counts as a save.
    wait_for("a later second", lambda: client.time()[0] > before.timestamp())
    client.bgsave()

    def ended_well() -> bool:
        state = client.info("persistence")
        assert state["rdb_last_bgsave_status"] == "ok"
        return state["rdb_bgsave_in_progress"] == 0 and client.lastsave() > before

    wait_for("BGSAVE", ended_well)


class Writer(threading.Thread):
    """Writer of events, with the acknowledged event ids by user."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, list[str]] = defaultdict(list)
        self.number = 0
        self._url = url
        self._stop_requested = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, headers={"X-API-Key": KEY}) as client:
            while not self._stop_requested.is_set():
                user, event = f"u{self.number % USERS}", f"e{self.number}"
                body = {"user_id": user, "item_id": str(1 + self.number % 50), "event_id": event}
                if client.post("/v1/events?k=3", json=body).status_code == 200:
                    self.acknowledged[user].append(event)
                self.number += 1

    def stop(self) -> None:
        self._stop_requested.set()
        self.join()


@pytest.mark.parametrize("backend", [sqlite, redis_dump])
def test_backup_under_load_restores_every_acknowledged_event(
    tmp_path: Path, backend: Callable[[Path], AbstractContextManager[tuple[str, Backup]]]
) -> None:
    with backend(tmp_path) as (url, backup):
        with RunningService(tmp_path, url, BUNDLE) as service:
            writer = Writer(service.url)
            writer.start()
            wait_for("events", lambda: writer.number > 10 * USERS)
            before = {user: list(events) for user, events in dict(writer.acknowledged).items()}
            copy = backup()
            at_the_end = writer.number
            wait_for("more events", lambda: writer.number > at_the_end + USERS)
            writer.stop()
        with RunningService(tmp_path, copy, BUNDLE) as restored:
            assert sum(map(len, before.values())) > 9 * USERS
            for user, events in before.items():
                found = restored.get(f"/users/{user}/events", limit=1000)["events"]
                assert [event["event_id"] for event in found][: len(events)] == events
                audit = restored.get(f"/users/{user}/audit")
                assert audit["snapshot"] != "damaged"
                assert audit["max_relative_error"] <= 1e-5
            again = {"user_id": "u0", "item_id": "1", "event_id": "e0"}
            assert restored.post("/events", again)["duplicate"]
