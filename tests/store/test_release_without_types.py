"""Stores of two releases on the same data; one knows no types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.core.errors import SnapshotDamagedError
from service.core.events import Appended, Event, NewEvent
from service.core.recommending.log_replay.user_replay import UserReplay
from tests.core.fakes import FakeEngine
from tests.servers import RedisServer
from tests.store.backends import LONG_TIMEOUT_SECONDS, Backend, RedisBackend, SqliteBackend
from tests.store.calls import append, new, put, read

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parent / "release_without_types"
V = "v1"
LONGEST = NewEvent.create("b", 2.0, "y", 0.0, "a" * 32, -1.2345678901234567e-300)
PURCHASE = NewEvent.create("a", 1.0, "x", 0.0, "purchase", 49.9)
DISLIKE = NewEvent.create("c", 3.0, None, 0.0, "dislike")
LINKED = NewEvent.create("d", 4.0, "z", 0.0, "cart", None, "i" * 512)


class OldStore:
    """The earlier release's store, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(self, *request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def old_store(url: str, keep: int = 1000, days: int = 0) -> Iterator[OldStore]:
    path = os.pathsep.join([str(FOLDER / "service.zip"), *[entry for entry in sys.path if "site-packages" in entry]])
    command = [sys.executable, "-S", str(FOLDER / "driver.py"), url, str(keep), str(days)]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=FOLDER, env=environment
    ) as process:
        yield OldStore(process)
        assert process.stdin is not None
        with closing(process.stdin):
            pass
        assert process.wait(30) == 0


@pytest.fixture(params=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return SqliteBackend(tmp_path / "events.db")
    server: RedisServer = request.getfixturevalue("shared_redis")
    backend = RedisBackend(server, LONG_TIMEOUT_SECONDS)
    with backend.client() as client:
        client.flushall()
    return backend


async def test_old_worker_reads_typed_events_as_plain_ones_and_appends_behind_them(backend: Backend) -> None:
    store = await backend.open()
    with old_store(backend.url) as old:
        await append(store, "u", PURCHASE, LONGEST, DISLIKE, LINKED)
        assert old.call("history", "u") == [
            *([1, "a", 1.0, "x"], [2, "b", 2.0, "y"], [3, "c", 3.0, "seq-3"], [4, "d", 4.0, "z"])
        ]
        assert old.call("append", "u", "e", 5.0, "w") == [[5, False], ["a", "b", "c", "d", "e"]]
    view = await read(store, "u")
    assert [event.type for event in view.pending] == ["purchase", "a" * 32, "dislike", "cart", ""]
    assert (view.pending[1].value, view.pending[3].recommendation_id) == (LONGEST.value, "i" * 512)
    backend.check()
    await store.close()


async def test_retry_across_the_upgrade_is_a_duplicate_in_both_directions(backend: Backend) -> None:
    with old_store(backend.url) as old:
        old.call("append", "u", "a", 1.0, "x")
        store = await backend.open()
        assert (await append(store, "u", NewEvent.create("a", 1.0, "x", 9.0))).appended == (Appended(1, True),)
        view = await append(store, "u", NewEvent.create("a", 1.0, "x", 9.0, type="view"))
        assert view.appended == (Appended(1, True),)
        await append(store, "u", new("b", "y", 2.0))
        assert old.call("append", "u", "b", 2.0, "y")[0] == [2, True]
        await store.close()


async def test_old_worker_removes_and_undoes_typed_events(backend: Backend) -> None:
    store = await backend.open()
    with old_store(backend.url, keep=3) as old:
        await append(store, "u", LONGEST, LINKED, PURCHASE, DISLIKE)
        assert old.call("append", "u", "e", 5.0, "w")[0] == [5, False]  # removes LONGEST and LINKED
        assert [event[1] for event in old.call("history", "u")] == ["a", "c", "e"]
        assert old.call("delete_event", "u", "x") and old.call("delete_event", "u", "seq-4")
        assert not old.call("delete_event", "u", "y")
        await append(store, "v", PURCHASE, LINKED)
        assert old.call("delete_user", "v") == 2
    assert (await read(store, "u")).pending == (Event(5, "e", 5.0, "w"),)
    backend.check()
    await store.close()


async def test_old_worker_removes_typed_events_by_age(backend: Backend) -> None:
    store = await backend.open()
    with old_store(backend.url, days=1) as old:
        await append(store, "u", LINKED, LONGEST)
        backend.make_older("u", 2 * 86_400.0)
        await append(store, "u", PURCHASE)
        assert old.call("append", "u", "e", 5.0, "w")[0] == [4, False]
        assert [event[1] for event in old.call("history", "u")] == ["a", "e"]
        await append(store, "v", LINKED)
        backend.make_older("v", 2 * 86_400.0)
        assert old.call("expire", ["v"]) == 1
    backend.check()
    await store.close()


async def test_merge_by_an_old_worker_keeps_every_event_and_loses_no_dislike_that_stays(backend: Backend) -> None:
    store = await backend.open()
    with old_store(backend.url) as old:
        await append(store, "u", PURCHASE, DISLIKE)
        await append(store, "v", NewEvent.create("f", 9.0, "f", 0.0, "cart"))
        merged = old.call("merge", "u", "v")
        assert (merged["moved"], merged["sequence"]) == (1, 3)
    view = await read(store, "u", V)
    assert [event.item_id for event in view.pending] == ["a", "c", "f"]
    assert [event.type for event in view.pending[:2]] == ["purchase", "dislike"]
    assert UserReplay.of(FakeEngine(), "u", view).excluded == {"c": 2}
    backend.check()
    await store.close()


async def test_merge_of_linked_events_that_an_old_worker_cannot_finish_is_finished_by_a_new_one(
    backend: Backend,
) -> None:
    store = await backend.open()
    with old_store(backend.url) as old:
        await append(store, "u", PURCHASE)
        await append(store, "v", LINKED)
        found = old.call("merge", "u", "v")
        assert found == {"error": "ValueError"} or found["moved"] == 1
    await store.finish_merges()
    assert [event.item_id for event in (await read(store, "u")).pending] == ["a", "d"]
    backend.check()
    await store.close()


async def test_snapshot_of_an_old_worker_is_not_continued_if_it_has_typed_events(backend: Backend) -> None:
    store = await backend.open()
    with old_store(backend.url) as old:
        await append(store, "u", new("a"))
        assert old.call("put_snapshot", "u", "[]") == [True]
        view = await append(store, "u", DISLIKE, version=V)
        replay = UserReplay.of(FakeEngine(), "u", view)  # begins before the dislike
        assert replay.snapshot is not None and replay.excluded == {"c": 2}
        assert await store.put_snapshots([replay.next_snapshot(b"[]")]) == [True]
        assert old.call("put_snapshot", "u", "[]") == [True]  # an old worker finds it damaged, and repairs it
        with pytest.raises(SnapshotDamagedError, match="without event types"):
            UserReplay.of(FakeEngine(), "u", await read(store, "u", V))
        whole = await read(store, "u", None)
        repaired = UserReplay.of(FakeEngine(), "u", whole).next_snapshot(b"[]", repair=True)
        assert await store.put_snapshots([repaired]) == [True]
        assert UserReplay.of(FakeEngine(), "u", await read(store, "u", V)).excluded == {"c": 2}
    await store.close()


async def test_old_worker_goes_on_while_a_new_one_opens_its_file(backend: Backend) -> None:
    with old_store(backend.url) as old:
        old.call("append", "u", "a", 1.0, "x")
        store = await backend.open()
        await append(store, "u", PURCHASE._replace(event_id="p"))
        assert old.call("append", "u", "b", 2.0, "y")[0] == [3, False]
        assert await put(store, "u", 3)
        assert [event.type for event in (await read(store, "u", None)).pending] == ["", "purchase", ""]
        await store.close()
